// The fields that OCI documents share, read from hostile JSON: objects, texts, annotations,
// descriptors. Every error names the field. Pure, any thread; private to source/.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "source/manifest.h"

namespace dedup::manifest_json {

using nlohmann::json;

inline constexpr size_t kMaxIndexEntries = 4096;
inline constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";

// kInvalid: "FIELD WHAT".
Error bad(std::string_view field, std::string_view what);
Result<json> parse_object(std::string_view text, std::string_view what);
// nullptr when absent or null.
const json* member(const json& object, const char* name);
// Absent: "". `where` is put before the name in errors, here and below.
Result<std::string> text_of(const json& object, const char* name, const std::string& where);
Result<Digest> digest_of(const json& value, const std::string& where);
// The member "annotations".
Result<std::map<std::string, std::string>> annotations_of(const json& object,
                                                          const std::string& where);
Result<Platform> platform_of(const json& object, const std::string& where);
Result<Descriptor> descriptor_of(const json& object, const std::string& where);
// A list of at most `limit` descriptors.
Result<std::vector<Descriptor>> descriptors_of(const json& object, const char* name, size_t limit);
// "type/subtype" of "type/subtype; charset=utf-8".
std::string without_parameters(std::string_view media_type);
// Of a manifest or index: its own mediaType, else what the server said, else what its fields say.
Result<std::string> media_type_of(const json& document, std::string_view stated);

}  // namespace dedup::manifest_json
