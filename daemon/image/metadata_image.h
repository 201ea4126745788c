// build_metadata_image: layers of a chain -> merged tree -> EROFS file on disk. Blocking; one
// worker job.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "format/image_tree.h"
#include "pool/pool.h"

namespace dedup {

// A file of the image whose data begins in a given segment: what a door's probe reads.
struct ProbeFile {
  std::string path;  // below the mount point, starts with '/'
  uint64_t file_offset = 0;
  uint64_t segment_offset = 0;
};

struct MetadataImage {
  std::vector<SegmentId> devices;         // device slots in order; may include kZeroSegment
  std::map<SegmentId, ProbeFile> probes;  // one visible file per segment that has any
  uint64_t bytes = 0;
};

// Writes the metadata image of `layers` (bottom first) to `path`, replacing it atomically. Not
// synced: after a reboot it is written anew before it is mounted again.
Result<MetadataImage> build_metadata_image(std::vector<PlacedLayer> layers, Whiteouts whiteouts,
                                           const Digest& chain,
                                           const std::map<SegmentId, uint64_t>& segment_bytes,
                                           const std::string& path);

}  // namespace dedup
