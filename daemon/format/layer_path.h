// Paths as layers write them: split into components, checked, and classified by the whiteout names
// of the OCI image-spec. Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/entry.h"

namespace dedup {

inline constexpr std::string_view kWhiteoutPrefix = ".wh.";
inline constexpr std::string_view kReservedPrefix =
    ".wh..wh.";  // internals of AUFS, never files of an image
inline constexpr std::string_view kOpaqueMarker = ".wh..wh..opq";

// Components of `path` without empty ones and "."; empty for the root. The views point into `path`.
//   errors  kInvalid: a ".." component, a NUL byte, max_name_bytes, max_path_bytes (of the cleaned
//   path).
Result<void> split_layer_path(std::string_view path, const LayerLimits& limits,
                              std::vector<std::string_view>& components);

// `path` in single quotes for an error text: control bytes as \xNN, at most 256 bytes of it.
std::string printable_path(std::string_view path);

}  // namespace dedup
