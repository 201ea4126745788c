// EROFS metadata image writer: one file-system image without data blocks; every regular file's data
// is a list of chunk indexes into device slots, one device per pool segment. Computes the whole
// layout first, then emits and checks that both agree. Same tree and options give the same bytes,
// bit for bit. Pure; any thread, one call at a time per sink.
//
//   source   Linux fs/erofs/erofs_fs.h (5.19 - 6.18). Superblock checksummed; extended (64-byte)
//   inodes; directories and
//            symlinks FLAT_INLINE/FLAT_PLAIN; xattrs inline, values used more than once shared;
//            regular files CHUNK_BASED with 8-byte indexes; empty files FLAT_PLAIN.
//   holes    no null chunk index is written (kernels 6.1 and 6.12 mishandle them): holes point at
//   device `zero_segment`
//            whose first chunk_bytes bytes are a hole of a sparse file.
//   opaque   a node with `opaque` gets xattr trusted.overlay.opaque=y.
//   limits   names <= 255 bytes, 65535 devices, 16 TiB per device, 4 GiB of metadata; beyond:
//   kInvalid naming the path.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "format/image_tree.h"

namespace dedup {

struct ErofsOptions {
  std::array<std::byte, 16> uuid{};
  int64_t build_seconds = 0;  // superblock build time
  uint32_t zero_segment = 0;  // pool segment that holes point at
  // Bytes of the segment file, for the device table; 0 for an unknown id is an error.
  std::function<uint64_t(uint32_t segment)> segment_bytes;
};

struct ErofsImage {
  uint64_t bytes = 0;              // image size, multiple of 4096
  std::vector<uint32_t> devices;   // pool segments in device-slot order: slot i + 1 is devices[i]
  std::vector<uint32_t> node_nid;  // per TreeNode: inode number (st_ino through the mount)
};

// Receives the image front to back, no gaps.
using ErofsSink = std::function<Result<void>(std::span<const std::byte>)>;

Result<ErofsImage> write_erofs(const ImageTree& tree, const ErofsOptions& options,
                               const ErofsSink& sink);

// What write_erofs would return, without writing: whose inode numbers a mounted image has.
Result<ErofsImage> plan_erofs(const ImageTree& tree, const ErofsOptions& options);

}  // namespace dedup
