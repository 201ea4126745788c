// EROFS on-disk structures and numbers, as the writer of metadata images needs them. All integers
// little-endian; the structs are copied to the image byte for byte. Pure data; any thread.
//
//   source  Linux fs/erofs/erofs_fs.h (5.19 - 6.18); names follow it.
//
//   image   block 0: 1024 zero bytes, Superblock (128), device table (128 each, may run on into
//   further blocks)
//           shared xattr area (block aligned, absent without shared values)
//           inodes (block aligned; nid = byte offset in this area / 32), each: InodeExtended, xattr
//           body, then a directory or symlink tail, or chunk indexes aligned to 8 data blocks of
//           directories and symlinks too long for an inline tail
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace dedup::erofs {

static_assert(std::endian::native == std::endian::little,
              "structs are written as they lie in memory");

inline constexpr uint64_t kBlockBytes = 4096;
inline constexpr uint32_t kBlockBits = 12;
inline constexpr uint64_t kSuperOffset = 1024;
constexpr uint64_t blocks_of(uint64_t bytes) {
  return bytes / kBlockBytes + (bytes % kBlockBytes != 0);
}

inline constexpr uint64_t kNidBytes = 32;  // inode slot
inline constexpr uint32_t kMagic = 0xE0F5E1E2;

inline constexpr uint32_t kCompatSbChecksum = 0x1;
inline constexpr uint32_t kCompatMtime = 0x2;
inline constexpr uint32_t kIncompatChunkedFile = 0x4;
inline constexpr uint32_t kIncompatDeviceTable = 0x8;

inline constexpr uint16_t kChunkFormatIndexes = 0x20;  // low 5 bits: log2(chunk bytes) - block bits

struct [[gnu::packed]] Superblock {
  uint32_t magic;
  uint32_t checksum;  // crc32c, seed ~0, no final inversion, of [1024, 4096) with this field 0
  uint32_t feature_compat;
  uint8_t blkszbits;
  uint8_t sb_extslots;
  uint16_t root_nid;
  uint64_t inos;
  uint64_t build_time;
  uint32_t build_time_nsec;
  uint32_t blocks;
  uint32_t meta_blkaddr;
  uint32_t xattr_blkaddr;
  uint8_t uuid[16];
  uint8_t volume_name[16];
  uint32_t feature_incompat;
  uint16_t available_compr_algs;
  uint16_t extra_devices;
  uint16_t devt_slotoff;  // device table offset / 128
  uint8_t dirblkbits;
  uint8_t xattr_prefix_count;
  uint32_t xattr_prefix_start;
  uint64_t packed_nid;
  uint8_t reserved[24];
};
static_assert(sizeof(Superblock) == 128);
static_assert(offsetof(Superblock, root_nid) == 14 && offsetof(Superblock, meta_blkaddr) == 40);
static_assert(offsetof(Superblock, feature_incompat) == 80 &&
              offsetof(Superblock, packed_nid) == 96);

struct [[gnu::packed]] DeviceSlot {
  uint8_t tag[64];
  uint32_t blocks;
  uint32_t mapped_blkaddr;
  uint8_t reserved[56];
};
static_assert(sizeof(DeviceSlot) == 128);
inline constexpr uint64_t kDeviceTableOffset = kSuperOffset + sizeof(Superblock);
static_assert(kDeviceTableOffset % sizeof(DeviceSlot) == 0);

enum class DataLayout : uint8_t { kFlatPlain = 0, kFlatInline = 2, kChunkBased = 4 };

struct [[gnu::packed]] InodeExtended {
  uint16_t format;        // bit 0: extended; bits 1-3: DataLayout
  uint16_t xattr_icount;  // 0, or (xattr body bytes - 12) / 4 + 1
  uint16_t mode;
  uint16_t reserved;
  uint64_t size;
  uint32_t u;  // first block of flat data, chunk format, or device number
  uint32_t ino;
  uint32_t uid;
  uint32_t gid;
  uint64_t mtime;
  uint32_t mtime_nsec;
  uint32_t nlink;
  uint8_t reserved2[16];
};
static_assert(sizeof(InodeExtended) == 64 && offsetof(InodeExtended, mtime) == 32);

struct [[gnu::packed]] ChunkIndex {
  uint16_t reserved;
  uint16_t device_id;  // 1-based slot of the device table
  uint32_t blkaddr;
};
static_assert(sizeof(ChunkIndex) == 8);
inline constexpr uint32_t kNullAddress = 0xFFFFFFFF;

struct [[gnu::packed]] Dirent {
  uint64_t nid;
  uint16_t nameoff;
  uint8_t file_type;
  uint8_t reserved;
};
static_assert(sizeof(Dirent) == 12);

struct [[gnu::packed]] XattrBodyHeader {
  uint32_t name_filter;
  uint8_t shared_count;
  uint8_t reserved[7];
};
static_assert(sizeof(XattrBodyHeader) == 12);

struct [[gnu::packed]] XattrEntry {
  uint8_t name_len;
  uint8_t name_index;
  uint16_t value_size;
};
static_assert(sizeof(XattrEntry) == 4);

}  // namespace dedup::erofs
