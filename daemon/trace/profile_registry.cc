#include "trace/profile_registry.h"

#include <algorithm>

#include "trace/profile_file.h"

namespace dedup {
namespace {

constexpr size_t kMaxTried = 4;

Result<Profile> read_profile_of(const TracedImage& image, std::span<const std::byte> file) {
  TRY(profile, read_profile(file));
  for (const Digest& layer : profile.layers) {
    if (std::ranges::find(image.layers, layer) == image.layers.end())
      return make_error(Errc::kInvalid, "it is of another image: layer " + layer.to_string());
  }
  return profile;
}

// Annotations are short texts; profiles of different commands must differ in it.
std::string entrypoint_text(const Profile& profile) {
  constexpr size_t kMaxBytes = 256;
  std::string text;
  for (const std::string& argument : profile.entrypoint)
    text += (text.empty() ? "" : " ") + argument;
  if (text.size() <= kMaxBytes) return text;
  return text.substr(0, kMaxBytes) + " " + sha256(as_bytes(text)).hex().substr(0, 16);
}

}  // namespace

Task<Result<Profile>> pull_profile(Workers& workers, Log& log, ImageSource& source,
                                   TracedImage image) {
  if (!image.manifest)
    co_return make_error(Errc::kInvalid, "the manifest of " + image.ref + " is not known");
  const std::string type = kProfileMediaType;
  CO_TRY(referrers, co_await source.referrers(*image.manifest, type));
  const uint64_t max_bytes = ProfileLimits{}.max_file_bytes;
  for (size_t i = 0; i < std::min(referrers.size(), kMaxTried); ++i) {
    auto file = co_await source.read_artifact(referrers[i], type, max_bytes);
    Result<Profile> profile = make_error(Errc::kNotFound, "");
    if (file.ok()) {
      profile =
          co_await workers.run(Priority::kPrefetch, [&] { return read_profile_of(image, *file); });
    } else {
      profile = file.error();
    }
    if (profile.ok()) co_return profile;
    log.warn("a profile of the registry is not usable",
             {{"image", image.ref},
              {"artifact", referrers[i].manifest.digest.to_string()},
              {"error", profile.error()}});
  }
  co_return make_error(Errc::kNotFound, "the registry has no profile of " + image.ref);
}

Task<Result<Digest>> push_profile(Workers& workers, ImageSource& source, TracedImage image,
                                  Profile profile) {
  if (!image.manifest)
    co_return make_error(Errc::kInvalid, "the manifest of " + image.ref + " is not known");
  profile.image = image.manifest;
  // Names of containers are nobody else's business.
  profile.container.clear();
  profile.started_s = 0;
  profile.prepared_us = 0;
  profile.fetches.clear();
  CO_TRY(file, co_await workers.run(Priority::kOnDemand, [&] { return write_profile(profile); }));
  Artifact artifact{kProfileMediaType, kProfileMediaType, std::move(file), {}};
  artifact.annotations[kEntrypointAnnotation] = entrypoint_text(profile);
  co_return co_await source.push_artifact(*image.manifest, std::move(artifact));
}

}  // namespace dedup
