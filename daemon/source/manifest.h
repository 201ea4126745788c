// OCI and Docker manifests, indexes and image configs as values. Pure parsing of hostile JSON, any
// thread.
//   source  OCI image-spec manifest.md, image-index.md, config.md; Docker distribution schema 2.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/digest.h"

namespace dedup {

inline constexpr uint64_t kMaxManifestBytes = uint64_t{4} << 20;  // of a manifest or index

struct Platform {
  std::string os = "linux";
  std::string architecture;  // Go names: amd64, arm64
  std::string variant;
  static Platform host();
};

struct Descriptor {
  std::string media_type;
  Digest digest;
  uint64_t size = 0;
  std::map<std::string, std::string> annotations;
  Platform platform;  // of an index entry; architecture empty when absent
};

struct Manifest {
  std::string media_type;
  Descriptor config;
  std::vector<Descriptor> layers;  // bottom first
  std::map<std::string, std::string> annotations;
};

struct ImageIndex {
  std::vector<Descriptor> manifests;
};

struct ImageConfig {
  Platform platform;
  std::vector<Digest> diff_ids;  // digests of the uncompressed layers, bottom first
};

// errors  kInvalid/kCorruption naming the field; kUnsupported for schema 1 and unknown media types.
Result<std::variant<Manifest, ImageIndex>> parse_manifest(std::string_view json,
                                                          std::string_view media_type);
Result<ImageConfig> parse_image_config(std::string_view json);
// The entry for `platform` (os, architecture, then best variant). kNotFound lists what the index
// offers.
Result<Descriptor> choose_platform(const ImageIndex& index, const Platform& platform);

}  // namespace dedup
