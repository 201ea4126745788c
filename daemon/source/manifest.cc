#include "source/manifest.h"

#include <sys/utsname.h>

#include <algorithm>

#include "source/manifest_json.h"

namespace dedup {
namespace {

using namespace manifest_json;

constexpr size_t kMaxLayers = 1024;

constexpr std::string_view kDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
constexpr std::string_view kDockerList =
    "application/vnd.docker.distribution.manifest.list.v2+json";

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
  TRY(type, media_type_of(document, media_type));
  // Filled in place: g++ 12 warns of what a moved temporary variant does not hold.
  std::variant<Manifest, ImageIndex> parsed;
  if (type == kOciManifest || type == kDockerManifest) {
    TRY(manifest, manifest_of(document, std::move(type)));
    parsed = std::move(manifest);
    return parsed;
  }
  if (type == kOciIndex || type == kDockerList) {
    TRY(manifests, descriptors_of(document, "manifests", kMaxIndexEntries));
    parsed.emplace<ImageIndex>().manifests = std::move(manifests);
    return parsed;
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
