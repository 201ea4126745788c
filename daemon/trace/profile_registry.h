// Profiles in registries: artifacts that refer to the image's manifest (OCI referrers), so that the
// starts one node has seen warm every node's. What comes from there is believed only so far that it
// may cost bandwidth: it names ranges of the image's own layers. Loop thread; parsing on workers.
#pragma once

#include "base/log.h"
#include "io/workers.h"
#include "source/source.h"
#include "trace/trace_files.h"

namespace dedup {

inline constexpr const char* kProfileMediaType =
    "application/vnd.dedup-snapshotter.profile.v1+json+zstd";

// The newest usable one. Others are logged and passed over.
//   errors  kNotFound: there is none; kInvalid: the image has no manifest digest; those of the
//           source
Task<Result<Profile>> pull_profile(Workers& workers, Log& log, ImageSource& source,
                                   TracedImage image);

// Returns the digest of the artifact's manifest. Replaces an earlier one of the same entrypoint.
//   errors  those of the source and of write_profile
Task<Result<Digest>> push_profile(Workers& workers, ImageSource& source, TracedImage image,
                                  Profile profile);

}  // namespace dedup
