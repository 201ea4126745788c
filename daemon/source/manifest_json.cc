#include "source/manifest_json.h"

#include <limits>

namespace dedup::manifest_json {

Error bad(std::string_view field, std::string_view what) {
  return make_error(Errc::kInvalid, std::string(field) + " " + std::string(what));
}

Result<json> parse_object(std::string_view text, std::string_view what) {
  json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return bad(what, "is not a JSON object");
  return document;
}

const json* member(const json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// Absent: "".
Result<std::string> text_of(const json& object, const char* name, const std::string& where) {
  const json* value = member(object, name);
  if (value == nullptr) return std::string();
  if (!value->is_string()) return bad(where + name, "is not a string");
  return value->get<std::string>();
}

Result<Digest> digest_of(const json& value, const std::string& where) {
  if (!value.is_string()) return bad(where, "is not a digest string");
  auto digest = Digest::parse(value.get_ref<const std::string&>());
  if (!digest.ok()) return std::move(digest).error().with(where);
  return digest;
}

Result<std::map<std::string, std::string>> annotations_of(const json& object,
                                                          const std::string& where) {
  std::map<std::string, std::string> annotations;
  const json* value = member(object, "annotations");
  if (value == nullptr) return annotations;
  if (!value->is_object()) return bad(where + "annotations", "is not an object");
  for (const auto& [name, text] : value->items()) {
    if (!text.is_string()) return bad(where + "annotations." + name, "is not a string");
    annotations.emplace(name, text.get<std::string>());
  }
  return annotations;
}

Result<Platform> platform_of(const json& object, const std::string& where) {
  Platform platform;
  TRY(os, text_of(object, "os", where));
  TRY(architecture, text_of(object, "architecture", where));
  TRY(variant, text_of(object, "variant", where));
  if (!os.empty()) platform.os = std::move(os);
  platform.architecture = std::move(architecture);
  platform.variant = std::move(variant);
  return platform;
}

Result<Descriptor> descriptor_of(const json& object, const std::string& where) {
  if (!object.is_object()) return bad(where, "is not a descriptor object");
  const std::string inside = where + ".";
  Descriptor descriptor;
  TRY(media_type, text_of(object, "mediaType", inside));
  descriptor.media_type = std::move(media_type);
  const json* digest = member(object, "digest");
  if (digest == nullptr) return bad(inside + "digest", "is missing");
  TRY(parsed, digest_of(*digest, inside + "digest"));
  descriptor.digest = parsed;
  const json* size = member(object, "size");
  if (size == nullptr || !size->is_number_unsigned()) {
    return bad(inside + "size", "is not a count of bytes");
  }
  descriptor.size = size->get<uint64_t>();
  if (descriptor.size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return bad(inside + "size", "is larger than any file");
  }
  TRY(annotations, annotations_of(object, inside));
  descriptor.annotations = std::move(annotations);
  if (const json* platform = member(object, "platform")) {
    if (!platform->is_object()) return bad(inside + "platform", "is not an object");
    TRY(chosen, platform_of(*platform, inside + "platform."));
    descriptor.platform = std::move(chosen);
  }
  return descriptor;
}

Result<std::vector<Descriptor>> descriptors_of(const json& object, const char* name, size_t limit) {
  std::vector<Descriptor> descriptors;
  const json* list = member(object, name);
  if (list == nullptr || !list->is_array()) return bad(name, "is not a list");
  if (list->size() > limit) {
    return bad(name, "has more than " + std::to_string(limit) + " entries");
  }
  for (size_t i = 0; i < list->size(); ++i) {
    TRY(descriptor, descriptor_of((*list)[i], std::string(name) + "[" + std::to_string(i) + "]"));
    descriptors.push_back(std::move(descriptor));
  }
  return descriptors;
}

std::string without_parameters(std::string_view media_type) {
  media_type = media_type.substr(0, media_type.find(';'));
  while (!media_type.empty() && media_type.back() == ' ') media_type.remove_suffix(1);
  return std::string(media_type);
}

Result<std::string> media_type_of(const json& document, std::string_view stated) {
  const bool has_manifests = member(document, "manifests") != nullptr;
  const bool has_layers = member(document, "layers") != nullptr;
  if (has_manifests && has_layers) {
    return bad("manifest", "has both \"layers\" and \"manifests\" and could be read as either");
  }
  TRY(own, text_of(document, "mediaType", ""));
  if (!own.empty()) return own;
  const std::string type = without_parameters(stated);
  const bool generic = type.empty() || type == "application/json" || type == "text/plain" ||
                       type == "application/octet-stream";
  if (!generic) return type;
  if (has_manifests) return std::string(kOciIndex);
  if (has_layers) return std::string(kOciManifest);
  return bad("manifest", "has neither \"layers\" nor \"manifests\"");
}

}  // namespace dedup::manifest_json
