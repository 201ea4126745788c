// Profile: what a container of an image touches when it starts, in order: layers, paths and file
// ranges, so that it means the same on every host. The recording of one start, a trace, is a
// profile that also says what was fetched meanwhile. Pure data; any thread. The file that holds one
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

enum class FetchCause : uint8_t {
  kReader,      // a reader of the container needed it
  kReadahead,   // guessed from what a reader needed: its neighbours, the rest of its file
  kPrefetch,    // ahead of the container, from a profile or a landmark
  kBackground,  // the rest of the image
};

// Bytes that came to the node while the start was recorded.
struct ProfileFetch {
  std::optional<uint32_t> layer;  // into Profile::layers
  std::string path;
  ByteRange range;  // of the file, not empty
  uint64_t us = 0;  // when it was present, since the image was prepared
  FetchCause by = FetchCause::kReader;
  uint64_t wait_us = 0;  // how long it held up a reader; 0: nobody waited
  bool operator==(const ProfileFetch&) const = default;
};

struct Profile {
  std::optional<Digest> image;          // of the manifest
  std::vector<std::string> entrypoint;  // what ran, as started; empty: not known
  ProfileSource source = ProfileSource::kTouches;
  uint32_t runs = 1;                  // merged into this
  std::vector<Digest> layers;         // those that entries name, as the manifest names them
  std::vector<ProfileEntry> entries;  // by first_us

  // Of a trace; empty in what was merged or imported.
  std::string container;     // its id
  uint64_t started_s = 0;    // Unix time; 0: not known
  uint64_t prepared_us = 0;  // how long before the container's start the image was prepared
  std::vector<ProfileFetch> fetches;  // by us, counted from there
  bool operator==(const Profile&) const = default;
};

// Absolute, cleaned, at most 4095 bytes, names of at most 255, none of them "." or ".."; UTF-8
// without NUL. A file with another name cannot be in a profile.
bool valid_profile_path(std::string_view path);

}  // namespace dedup
