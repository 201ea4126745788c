// LayerIndex: the one in-memory model every format reader produces: the inodes of one layer, and
// for regular files an ordered list of extents with the chunks that can fetch and verify them.
// Built once (format/layer_builder.h), then shared as shared_ptr<const LayerIndex>. Pure data; any
// thread may read it.
//
// Overlay semantics, not OCI ones: a whiteout is a character device 0:0, an opaque directory
// carries `opaque`. The readers translate `.wh.NAME` and `.wh..wh..opq` (OCI image-spec layer.md,
// "Whiteouts").
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"

namespace dedup {

using InodeIndex = uint32_t;
inline constexpr InodeIndex kRootInode = 0;
inline constexpr uint64_t kPoolBlockBytes = 4096;
inline constexpr uint32_t kDefaultChunkBytes =
    4u << 20;  // extent size limit; power of two, >= kPoolBlockBytes

// How the compressed bytes of one chunk are decoded.
enum class Codec : uint8_t { kNone = 0, kGzip = 1, kZstd = 2 };

// Chunk: what a source can fetch and verify on its own. To get it: read blob bytes [blob_offset,
// +blob_bytes), decode them with `codec`, skip `inner_offset` bytes of the result, keep `bytes`,
// compare with `digest`. Layers without random access (plain tar.gz) have extents but no chunks:
// their bytes come from one streaming pass.
struct Chunk {
  uint64_t blob_offset = 0;
  uint64_t blob_bytes = 0;
  uint64_t inner_offset = 0;
  uint64_t bytes = 0;
  Codec codec = Codec::kNone;
  Digest digest;
  bool operator==(const Chunk&) const = default;
};

// Extent: a run of one file, the unit of deduplication. file_offset is a multiple of
// LayerIndex::chunk_bytes and bytes <= chunk_bytes; only the last extent of a file may be shorter.
// Exception: where a format's chunks do not end on multiples of chunk_bytes the whole file is one
// extent of any length (chunks [0, chunk_count) cover it in order). Parts of a file that no extent
// covers are holes and read as zeros.
struct Extent {
  Digest
      identity;  // sha256 of the extent's bytes; for a whole-file extent of several chunks, what
                 // identity_of_chunks (format/extent_identity.h) makes of their sizes and digests
  uint64_t file_offset = 0;
  uint64_t bytes = 0;
  uint32_t first_chunk = 0;  // into LayerIndex::chunks
  uint32_t chunk_count = 0;  // 0: no random access
  bool operator==(const Extent&) const = default;
};

struct Xattr {
  std::string name;  // full name, "user.x", "security.capability"
  std::string value;
  bool operator==(const Xattr&) const = default;
};

struct DirEntry {
  std::string name;
  InodeIndex inode = 0;
  bool operator==(const DirEntry&) const = default;
};

struct Inode {
  uint32_t mode = 0;  // type and permission bits as in st_mode
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t rdev_major = 0;
  uint32_t rdev_minor = 0;
  uint32_t link_count = 1;  // names of this inode in this layer; directories: 2 + subdirectories
  int64_t mtime_seconds = 0;
  uint32_t mtime_nanoseconds = 0;
  bool opaque = false;    // directory: hides what lower layers hold below this path
  bool implicit = false;  // directory no entry described; a lower layer's directory of that path
                          // keeps its attributes
  uint64_t size = 0;      // regular files: bytes; symlinks: length of the target
  std::string symlink_target;
  std::vector<Xattr> xattrs;       // sorted by name
  std::vector<DirEntry> children;  // directories: sorted bytewise by name, no "." and ".."
  uint32_t first_extent = 0;       // into LayerIndex::extents, file order
  uint32_t extent_count = 0;

  bool is_directory() const { return S_ISDIR(mode); }
  bool is_regular() const { return S_ISREG(mode); }
  bool is_whiteout() const { return S_ISCHR(mode) && rdev_major == 0 && rdev_minor == 0; }
  bool operator==(const Inode&) const = default;
};

struct LayerIndex {
  uint32_t chunk_bytes = kDefaultChunkBytes;
  std::vector<Inode> inodes;  // [kRootInode] is the root directory
  std::vector<Extent> extents;
  std::vector<Chunk> chunks;
  bool operator==(const LayerIndex&) const = default;
};

// Where the pool keeps one extent. Parallel to LayerIndex::extents.
struct Slot {
  uint32_t segment = 0;
  uint64_t offset = 0;  // multiple of kPoolBlockBytes
  bool operator==(const Slot&) const = default;
};

}  // namespace dedup
