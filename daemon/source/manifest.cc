#include "source/manifest.h"

#include <sys/utsname.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

namespace dedup {
namespace {

using nlohmann::json;

constexpr size_t kMaxLayers = 1024;
constexpr size_t kMaxIndexEntries = 4096;

constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
constexpr std::string_view kDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
constexpr std::string_view kDockerList =
    "application/vnd.docker.distribution.manifest.list.v2+json";

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

// The document's own mediaType, else what the server said, else what its fields say.
Result<std::string> type_of(const json& document, std::string_view stated) {
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

Result<Manifest> manifest_of(const json& document, std::string type) {
  Manifest manifest;
  manifest.media_type = std::move(type);
  const json* config = member(document, "config");
  if (config == nullptr) return bad("config", "is missing");
  TRY(descriptor, descriptor_of(*config, "config"));
  manifest.config = std::move(descriptor);
  TRY(layers, descriptors_of(document, "layers", kMaxLayers));
  manifest.layers = std::move(layers);
  TRY(annotations, annotations_of(document, ""));
  manifest.annotations = std::move(annotations);
  return manifest;
}

std::string shown(const Platform& platform) {
  std::string text = platform.os + "/" + platform.architecture;
  return platform.variant.empty() ? text : text + "/" + platform.variant;
}

// How well an entry of the right os and architecture runs on `host`: 0 not at all, more is better.
// An arm CPU runs code of its own and of older versions; no variant means the baseline.
int variant_rank(const std::string& entry, const Platform& host) {
  if (entry == host.variant) return 100;
  const bool arm64 = host.architecture == "arm64";
  if (arm64 && (entry == "v8" || entry.empty()) && (host.variant == "v8" || host.variant.empty())) {
    return 99;
  }
  if (entry.empty()) return 1;
  const auto version = [](const std::string& variant) {
    return variant.size() == 2 && variant[0] == 'v' ? variant[1] - '0' : -1;
  };
  const int wanted = host.variant.empty() ? -1 : version(host.variant);
  const int offered = version(entry);
  return offered >= 0 && offered < wanted ? 2 + offered : 0;
}

}  // namespace

Platform Platform::host() {
  utsname name{};
  uname(&name);
  const std::string machine = name.machine;
  if (machine == "x86_64") return {"linux", "amd64", ""};
  if (machine == "aarch64") return {"linux", "arm64", ""};
  if (machine.starts_with("armv7")) return {"linux", "arm", "v7"};
  if (machine.starts_with("armv6")) return {"linux", "arm", "v6"};
  if (machine == "i686" || machine == "i386") return {"linux", "386", ""};
  if (machine == "loongarch64") return {"linux", "loong64", ""};
  return {"linux", machine, ""};  // ppc64le, s390x, riscv64 are called the same
}

Result<std::variant<Manifest, ImageIndex>> parse_manifest(std::string_view text,
                                                          std::string_view media_type) {
  TRY(document, parse_object(text, "manifest"));
  const json* version = member(document, "schemaVersion");
  if (version != nullptr && *version == 1) {
    return make_error(Errc::kUnsupported, "manifest of Docker schema 1: push the image again");
  }
  TRY(type, type_of(document, media_type));
  if (type == kOciManifest || type == kDockerManifest) {
    TRY(manifest, manifest_of(document, std::move(type)));
    return std::variant<Manifest, ImageIndex>(std::move(manifest));
  }
  if (type == kOciIndex || type == kDockerList) {
    TRY(manifests, descriptors_of(document, "manifests", kMaxIndexEntries));
    return std::variant<Manifest, ImageIndex>(ImageIndex{std::move(manifests)});
  }
  return make_error(Errc::kUnsupported,
                    "manifest of media type \"" + type.substr(0, 100) + "\" is not an image");
}

Result<ImageConfig> parse_image_config(std::string_view text) {
  TRY(document, parse_object(text, "image config"));
  ImageConfig config;
  TRY(platform, platform_of(document, ""));
  config.platform = std::move(platform);
  const json* rootfs = member(document, "rootfs");
  const json* diff_ids =
      rootfs != nullptr && rootfs->is_object() ? member(*rootfs, "diff_ids") : nullptr;
  if (diff_ids == nullptr || !diff_ids->is_array()) return bad("rootfs.diff_ids", "is not a list");
  if (diff_ids->size() > kMaxLayers) return bad("rootfs.diff_ids", "has more than 1024 entries");
  for (size_t i = 0; i < diff_ids->size(); ++i) {
    TRY(digest, digest_of((*diff_ids)[i], "rootfs.diff_ids[" + std::to_string(i) + "]"));
    config.diff_ids.push_back(digest);
  }
  return config;
}

Result<Descriptor> choose_platform(const ImageIndex& index, const Platform& platform) {
  const Descriptor* best = nullptr;
  int best_rank = 0;
  std::string offered;
  for (const Descriptor& entry : index.manifests) {
    const Platform& candidate = entry.platform;
    if (offered.size() < 500 && !candidate.architecture.empty()) {
      offered += (offered.empty() ? "" : ", ") + shown(candidate);
    }
    if (candidate.os != platform.os || candidate.architecture != platform.architecture) continue;
    const int rank = variant_rank(candidate.variant, platform);
    if (rank > best_rank) {
      best = &entry;
      best_rank = rank;
    }
  }
  if (best != nullptr) return *best;
  // An index that names no platform and holds one manifest leaves no choice.
  if (index.manifests.size() == 1 && index.manifests[0].platform.architecture.empty()) {
    return index.manifests[0];
  }
  return make_error(Errc::kNotFound, "no image for " + shown(platform) + ", the index offers " +
                                         (offered.empty() ? "no platform" : offered));
}

}  // namespace dedup
