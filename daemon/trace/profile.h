// Profile: what a container of an image touches when it starts, in order: layers, paths and file
// ranges, so that it means the same on every host. Pure data; any thread. The file that holds one
// (profile_file.h) is described in profile.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_range.h"
#include "base/digest.h"

namespace dedup {

enum class ProfileSource : uint8_t {
  kTouches,  // recorded: reads and faults
  kMisses,   // recorded on a kernel that shows only what came into the page cache, readahead too
  kList,     // a list of paths from elsewhere: positions in it instead of times
};

struct ProfileEntry {
  std::optional<uint32_t> layer;  // into Profile::layers; a list may not know it
  std::string path;               // in the merged image, "/usr/bin/python3"
  ByteRange range;                // of the file; length 0: the whole file, however long
  uint64_t first_us = 0;          // since the container started; of several runs the median
  uint32_t runs = 1;              // that touched it
  bool operator==(const ProfileEntry&) const = default;
};

struct Profile {
  std::optional<Digest> image;          // of the manifest
  std::vector<std::string> entrypoint;  // what ran, as started; empty: not known
  ProfileSource source = ProfileSource::kTouches;
  uint32_t runs = 1;                  // merged into this
  std::vector<Digest> layers;         // those that entries name, as the manifest names them
  std::vector<ProfileEntry> entries;  // by first_us
  bool operator==(const Profile&) const = default;
};

// Absolute, cleaned, at most 4095 bytes, names of at most 255, none of them "." or ".."; UTF-8
// without NUL. A file with another name cannot be in a profile.
bool valid_profile_path(std::string_view path);

}  // namespace dedup
