// Reading requests: the JSON of a body with hostile depth refused, and fields of it with a clear
// error instead of an exception (an exception in a handler ends the process). Pure; any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "api/server.h"
#include "base/result.h"

namespace dedup {

inline constexpr size_t kMaxBodyBytes = 1 << 20;

// An object; {} for no bytes. kInvalid for anything else.
Result<nlohmann::json> parse_body(std::string_view text);

// Bytes that are not UTF-8 (file names in messages) become U+FFFD instead of an exception.
std::string dump_json(const nlohmann::json& value, int indent = -1);

// Fields of a request body. kInvalid names the field and what it must be.
Result<std::string> text_field(const nlohmann::json& body, std::string_view name);  // not empty
Result<std::string> text_field_or(const nlohmann::json& body, std::string_view name,
                                  std::string fallback);
Result<bool> flag_field_or(const nlohmann::json& body, std::string_view name, bool fallback);
Result<std::vector<std::string>> text_list_field_or(const nlohmann::json& body,
                                                    std::string_view name,
                                                    std::vector<std::string> fallback);
// A required query parameter, not empty.
Result<std::string> query_field(const ApiRequest& request, const std::string& name);

}  // namespace dedup
