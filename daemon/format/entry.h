// Entry: one file-system object as a layer format names it, before paths are resolved: what
// TarReader and the TOC readers hand to LayerBuilder. Everything in it is hostile input. Pure data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "format/layer_index.h"

namespace dedup {

enum class EntryType : uint8_t {
  kRegular,
  kHardLink,
  kSymlink,
  kCharDevice,
  kBlockDevice,
  kDirectory,
  kFifo
};

struct Entry {
  EntryType type = EntryType::kRegular;
  std::string path;         // as written in the layer: may be "./a", "/a", "a/"
  std::string link_target;  // hard link: path in the layer; symlink: target text, verbatim
  uint32_t mode = 0;        // permission, setuid, setgid, sticky bits only
  uint64_t uid = 0;
  uint64_t gid = 0;
  uint64_t size = 0;  // regular files: logical bytes (a sparse file's full size)
  int64_t mtime_seconds = 0;
  uint32_t mtime_nanoseconds = 0;
  uint64_t rdev_major = 0;
  uint64_t rdev_minor = 0;
  std::vector<Xattr> xattrs;
};

// containerd's bound on times from layers (archive/time.go): before 1970 or past 2^63 - 1 ns
// becomes 0. Layer readers apply it; directories of this node keep their times.
inline void bound_mtime(Entry& entry) {
  constexpr int64_t kMaxSeconds = INT64_MAX / 1'000'000'000;
  constexpr uint32_t kMaxNanoseconds = INT64_MAX % 1'000'000'000;
  const bool late =
      entry.mtime_seconds > kMaxSeconds ||
      (entry.mtime_seconds == kMaxSeconds && entry.mtime_nanoseconds > kMaxNanoseconds);
  if (entry.mtime_seconds >= 0 && !late) return;
  entry.mtime_seconds = 0;
  entry.mtime_nanoseconds = 0;
}

// Limits a layer must keep; breaking one is kInvalid (or kNoSpace for max_* that guard the node),
// naming entry and limit.
struct LayerLimits {
  uint64_t max_entries = 4'000'000;
  uint64_t max_path_bytes = 4095;    // PATH_MAX - 1
  uint64_t max_name_bytes = 255;     // NAME_MAX
  uint64_t max_xattr_bytes = 65536;  // one value
  uint64_t max_metadata_bytes = 1ull
                                << 30;  // names, link targets and xattrs of all entries together
  uint64_t max_file_bytes = 1ull << 44;
  uint64_t max_uncompressed_bytes = 1ull
                                    << 40;  // of the whole layer tar: decompression bombs stop here
  uint64_t max_toc_bytes = 512ull << 20;    // uncompressed TOC JSON
  uint64_t max_chunk_bytes = 64ull << 20;   // one chunk, uncompressed and compressed
};

}  // namespace dedup
