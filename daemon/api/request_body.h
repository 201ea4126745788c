// Bodies of requests and answers as JSON: hostile depth is refused, and errors are values instead
// of exceptions (an exception in a handler ends the process). Pure; any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace dedup {

inline constexpr size_t kMaxBodyBytes = 1 << 20;

// An object; {} for no bytes. kInvalid for anything else.
Result<nlohmann::json> parse_body(std::string_view text);

// Bytes that are not UTF-8 (file names in messages) become U+FFFD instead of an exception.
std::string dump_json(const nlohmann::json& value, int indent = -1);

}  // namespace dedup
