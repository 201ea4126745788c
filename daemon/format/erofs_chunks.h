// The chunk indexes of one regular file: which device and block hold each chunk of it. A chunk is
// at most the layer's chunk_bytes; smaller, for the whole file, when an extent ends inside a chunk
// and a hole follows. Pure; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/bytes.h"
#include "base/result.h"
#include "format/image_tree.h"

namespace dedup::erofs {

// The extents of a file and their places, borrowed from its layer.
struct FileExtents {
  std::span<const Extent> extents;
  std::span<const Slot> slots;
};

struct ChunkPlan {
  uint32_t chunk_bits = 0;  // log2 of the chunk size
  uint64_t count = 0;       // chunk indexes
  bool has_holes = false;
};

// errors  kInvalid: references outside the layer, slots missing.
Result<FileExtents> file_extents(const PlacedLayer& layer, const Inode& inode);

// Checks the extents of a non-empty file and plans its chunk indexes.
//   segment_bytes  size of a pool segment, 0 when unknown
//   errors  kInvalid: extents out of order, unaligned or past the size; slots unaligned, past their
//   segment or 16 TiB.
Result<ChunkPlan> plan_chunks(const FileExtents& file, uint64_t file_bytes,
                              uint32_t layer_chunk_bytes,
                              const std::function<uint64_t(uint32_t segment)>& segment_bytes);

// Emits plan.count indexes through `put`, in pieces of at most 64 KiB: sparse files have no useful
// upper bound. device_id gives the 1-based slot of a segment; holes point at block 0 of
// zero_device.
Result<void> emit_chunk_indexes(const FileExtents& file, const ChunkPlan& plan,
                                const std::function<uint16_t(uint32_t segment)>& device_id,
                                uint16_t zero_device,
                                const std::function<Result<void>(std::span<const std::byte>)>& put);

}  // namespace dedup::erofs
