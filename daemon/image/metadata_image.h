// The metadata image of a chain: layers -> merged tree -> EROFS file on disk. Blocking, one worker
// job, where nothing else is said.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "format/erofs_writer.h"
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

// Bytes of each segment's data file.
using SegmentSizes = std::map<SegmentId, uint64_t>;

// Of all segments of the pool, the zero segment among them. Loop thread.
SegmentSizes segment_sizes(const Pool& pool);

// How metadata images are laid out, but for their UUID: who plans the same tree with it finds the
// inode numbers of the mount. `sizes` must outlive it.
ErofsOptions metadata_options(const SegmentSizes& sizes);

// Writes the metadata image of `layers` (bottom first) to `path`, replacing it atomically. Not
// synced: after a reboot it is written anew before it is mounted again.
Result<MetadataImage> build_metadata_image(std::vector<PlacedLayer> layers, Whiteouts whiteouts,
                                           const Digest& chain, const SegmentSizes& sizes,
                                           const std::string& path);

}  // namespace dedup
