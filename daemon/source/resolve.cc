#include "source/resolve.h"

namespace dedup {

Result<void> verify_digest(std::span<const std::byte> bytes, const Digest& digest,
                           std::string_view what) {
  const Digest actual = sha256(bytes);
  if (actual == digest) return {};
  return make_error(Errc::kCorruption, std::string(what) + " has digest " + actual.to_string() +
                                           ", expected " + digest.to_string() +
                                           ": the copy there is damaged, push it again");
}

Result<void> verify_descriptor(std::span<const std::byte> bytes, const Descriptor& descriptor,
                               std::string_view what) {
  if (bytes.size() != descriptor.size) {
    return make_error(Errc::kCorruption,
                      std::string(what) + " has " + std::to_string(bytes.size()) +
                          " bytes, its descriptor says " + std::to_string(descriptor.size));
  }
  return verify_digest(bytes, descriptor.digest, what);
}

Result<std::variant<Manifest, Descriptor>> next_step(std::string_view json,
                                                     std::string_view media_type,
                                                     const Platform& platform) {
  TRY(document, parse_manifest(json, media_type));
  if (auto* manifest = std::get_if<Manifest>(&document)) {
    return std::variant<Manifest, Descriptor>(std::move(*manifest));
  }
  TRY(chosen, choose_platform(std::get<ImageIndex>(document), platform));
  return std::variant<Manifest, Descriptor>(std::move(chosen));
}

Result<ResolvedImage> assemble(Reference reference, const Digest& manifest_digest,
                               Manifest manifest, std::string_view config_json) {
  const std::string config_name = "image config " + manifest.config.digest.to_string();
  auto config = parse_image_config(config_json);
  if (!config.ok()) return std::move(config).error().with(config_name);
  if (config->diff_ids.size() != manifest.layers.size()) {
    return make_error(Errc::kInvalid,
                      config_name + " has " + std::to_string(config->diff_ids.size()) +
                          " diff_ids for " + std::to_string(manifest.layers.size()) + " layers");
  }
  return ResolvedImage{std::move(reference), manifest_digest, std::move(manifest),
                       std::move(*config)};
}

}  // namespace dedup
