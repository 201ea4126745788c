// Artifacts that refer to an image manifest, as values: the list of them a registry gives, the
// manifest of one, and the index under the fallback tag. Pure reading and writing of hostile JSON,
// any thread.
//   source  OCI distribution-spec 1.1 "Listing Referrers", "Referrers Tag Schema"; OCI image-spec
//           1.1 manifest.md ("subject", "artifactType", "Guidelines for Artifact Usage").
#pragma once

#include <map>
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

}  // namespace dedup
