// Lists of files to prefetch that other tools make, as profiles of source kList: whole files, first
// come first. They name no image; whether the files exist shows when the profile is used. Pure; any
// thread.
#pragma once

#include <span>
#include <string_view>

#include "base/result.h"
#include "trace/profile.h"

namespace dedup {

enum class ListKind : uint8_t {
  kPaths,   // a path per line; empty lines and lines that begin with '#' are skipped
  kStargz,  // what ctr-remote optimize --record-out writes: {"path", "manifestDigest",
            // "layerIndex"} per line; stargz recorder/recorder.go
  kSoci,    // the array of paths of soci create --prefetch-files-json
};

// Paths may lack the leading '/'; "./", "//" and a final '/' are cleaned away. Each path counts
// once. layers: of the image the list is for, bottom first, to which layerIndex refers; empty when
// not known.
//   errors  kInvalid "line N: ...": not such a list, or a path no profile can name; kNoSpace: more
//           than max_entries; kUnsupported: a SOCI prefetch artifact, which names spans of a ztoc
Result<Profile> import_list(std::string_view text, ListKind kind,
                            std::span<const Digest> layers = {});

// By what the text begins with: '[' or a SOCI artifact, '{', or anything else.
ListKind guess_list_kind(std::string_view text);

}  // namespace dedup
