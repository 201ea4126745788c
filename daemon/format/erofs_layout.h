// Layout: where everything of an EROFS metadata image goes. Computed completely before the first
// byte is emitted (erofs_writer.cc), so that inode numbers exist when directories are written.
// Pure; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "format/erofs_chunks.h"
#include "format/erofs_format.h"
#include "format/erofs_writer.h"
#include "format/erofs_xattr.h"
#include "format/image_tree.h"

namespace dedup::erofs {

struct NodeLayout {
  uint64_t nid = 0;
  uint64_t data_bytes = 0;   // i_size
  uint32_t first_block = 0;  // of flat data outside the inode
  uint32_t link_count = 0;
  DataLayout layout = DataLayout::kFlatPlain;
  uint8_t chunk_bits = 0;
};

struct Layout {
  std::vector<NodeLayout> nodes;
  std::vector<uint32_t> parents;  // of directories; the root is its own
  std::vector<uint32_t> devices;  // segments, ascending: device id = position + 1
  std::vector<uint64_t> device_blocks;
  uint64_t shared_xattr_block = 0;  // 0: none
  uint64_t meta_block = 0;
  uint64_t data_block = 0;  // first block behind the inodes
  uint64_t blocks = 0;      // of the image

  uint16_t device_id(uint32_t segment) const;
};

// errors  kInvalid naming the path: bad name, unsorted directory, bad symlink target, device number
// or time that EROFS
//         cannot hold, bad extents, more than 65535 devices, image over 4 GiB.
Result<Layout> compute_layout(const ImageTree& tree, const ErofsOptions& options,
                              const XattrTable& xattrs);

}  // namespace dedup::erofs
