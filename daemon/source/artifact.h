// Artifacts that refer to an image manifest, as values: the list of them a registry gives, the
// manifest of one, and the index under the fallback tag. Pure reading and writing of hostile JSON,
// any thread.
//   source  OCI distribution-spec 1.1 "Listing Referrers", "Referrers Tag Schema"; OCI image-spec
//           1.1 manifest.md ("subject", "artifactType", "Guidelines for Artifact Usage").
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "source/manifest.h"

namespace dedup {

// RFC 3339; lists are sorted by it.
inline constexpr const char* kCreatedAnnotation = "org.opencontainers.image.created";
// Artifacts of one image and type that differ in this stand side by side; of those that agree, the
// newest replaces the others under the fallback tag.
inline constexpr const char* kEntrypointAnnotation = "dev.dedup-snapshotter.entrypoint";

inline constexpr uint64_t kMaxArtifactBytes = uint64_t{16} << 20;
inline constexpr uint64_t kMaxArtifactManifestBytes = uint64_t{1} << 20;

// One entry of a list of referrers. Nothing in it is verified but its form.
struct Referrer {
  Digest subject;  // the manifest whose referrers were asked for
  std::string artifact_type;
  Descriptor manifest;  // of the artifact's manifest; the annotations are the list's copy
};

// What is pushed: one blob and what is said about it.
struct Artifact {
  std::string artifact_type;
  std::string media_type;  // of the blob
  Bytes blob;              // at most kMaxArtifactBytes
  // Of the manifest and of its entry in lists; kCreatedAnnotation is added when absent.
  std::map<std::string, std::string> annotations;
};

// RFC 3339, UTC, to the microsecond. parse: nullopt when the text is none or before 1970.
using WallTime = std::chrono::time_point<std::chrono::system_clock, std::chrono::microseconds>;
std::string format_time(WallTime time);
std::optional<WallTime> parse_time(const std::string& text);

// The entries of an image index that have this artifact type. An entry that is no descriptor is
// left out: it must not hide its neighbours.
//   errors  kInvalid: no index, or more than 4096 entries.
Result<std::vector<Referrer>> parse_referrers(std::string_view index_json, const Digest& subject,
                                              const std::string& artifact_type);
// Sorts by date, those without one last, and keeps the first kMaxReferrers, each digest once.
void keep_newest(std::vector<Referrer>& referrers);
inline constexpr size_t kMaxReferrers = 64;

// Whether an artifact's manifest has the listed type and subject.
//   errors  kInvalid naming what differs.
Result<void> check_refers(std::string_view manifest_json, const Referrer& referrer);
// The one layer of an artifact's manifest, when the manifest is what `referrer` says.
//   errors  kInvalid naming what differs.
Result<Descriptor> artifact_layer(std::string_view manifest_json, const Referrer& referrer,
                                  const std::string& media_type, uint64_t max_bytes);

// The descriptor of a manifest or index that was read as `bytes`; content_type is what the server
// called it.
Result<Descriptor> describe_manifest(std::span<const std::byte> bytes,
                                     std::string_view content_type);
// The manifest that pushes `artifact`. Its config is kEmptyConfig.
std::string artifact_manifest(const Artifact& artifact, const Descriptor& subject);
inline constexpr std::string_view kEmptyConfig = "{}";

// "sha256-HEX": the tag under which registries without the referrers API keep the list.
std::string fallback_tag(const Digest& subject);
// The index with `entry` in it, in the place of those it replaces (kEntrypointAnnotation); all else
// stays as it is. index_json: empty when there is none yet.
//   errors  kInvalid: no OCI index, or the result is too large to be read again.
Result<std::string> add_referrer(std::string_view index_json, const Referrer& entry);
// Whether the index has `entry`, or a later one in its place.
bool is_listed(std::string_view index_json, const Referrer& entry);

}  // namespace dedup
