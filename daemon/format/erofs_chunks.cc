#include "format/erofs_chunks.h"

#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "format/erofs_format.h"

namespace dedup::erofs {
namespace {

constexpr size_t kPieceIndexes = 8192;

Error bad_extent(size_t number, std::string_view rule) {
  return make_error(Errc::kInvalid, "extent " + std::to_string(number) + " " + std::string(rule));
}

Result<void> check_slot(size_t number, const Extent& extent, const Slot& slot,
                        uint64_t segment_bytes) {
  if (slot.offset % kBlockBytes != 0) return bad_extent(number, "has an unaligned slot");
  const auto end_block = checked_add(slot.offset / kBlockBytes, blocks_of(extent.bytes));
  if (!end_block || *end_block > blocks_of(segment_bytes)) {
    return bad_extent(number, "lies outside segment " + std::to_string(slot.segment));
  }
  if (*end_block > kNullAddress) return bad_extent(number, "lies beyond 16 TiB of its segment");
  return {};
}

}  // namespace

Result<FileExtents> file_extents(const PlacedLayer& layer, const Inode& inode) {
  if (inode.extent_count == 0) return FileExtents{};
  const auto& extents = layer.index->extents;
  if (inode.first_extent > extents.size() ||
      inode.extent_count > extents.size() - inode.first_extent) {
    return make_error(Errc::kInvalid, "extents outside the layer index");
  }
  if (!layer.slots || layer.slots->size() != extents.size()) {
    return make_error(Errc::kInvalid, "extents without slots");
  }
  return FileExtents{std::span(extents).subspan(inode.first_extent, inode.extent_count),
                     std::span(*layer.slots).subspan(inode.first_extent, inode.extent_count)};
}

Result<ChunkPlan> plan_chunks(const FileExtents& file, uint64_t file_bytes,
                              uint32_t layer_chunk_bytes,
                              const std::function<uint64_t(uint32_t segment)>& segment_bytes) {
  if (!std::has_single_bit(layer_chunk_bytes) || layer_chunk_bytes < kBlockBytes) {
    return make_error(Errc::kInvalid, "chunk size is not a power of two of at least 4096");
  }
  ChunkPlan plan;
  uint64_t boundaries = layer_chunk_bytes;  // every extent boundary, or-ed: its lowest bit is the
                                            // largest chunk that fits
  uint64_t covered_blocks = 0;
  uint64_t previous_end = 0;
  for (size_t i = 0; i < file.extents.size(); ++i) {
    const Extent& extent = file.extents[i];
    const auto end = checked_add(extent.file_offset, extent.bytes);
    if (extent.bytes == 0 || !end || *end > file_bytes)
      return bad_extent(i, "is empty or past the file's size");
    if (extent.file_offset % kBlockBytes != 0) return bad_extent(i, "starts inside a block");
    if (extent.file_offset < previous_end) return bad_extent(i, "overlaps the one before");
    TRY(check_slot(i, extent, file.slots[i], segment_bytes(file.slots[i].segment)));
    previous_end = *end;
    boundaries |= extent.file_offset;
    if (*end != file_bytes) boundaries |= round_up(*end, kBlockBytes);
    covered_blocks += blocks_of(extent.bytes);
  }
  plan.chunk_bits = static_cast<uint32_t>(std::countr_zero(boundaries));
  plan.count = ((file_bytes - 1) >> plan.chunk_bits) + 1;
  plan.has_holes = covered_blocks != blocks_of(file_bytes);
  return plan;
}

Result<void> emit_chunk_indexes(
    const FileExtents& file, const ChunkPlan& plan,
    const std::function<uint16_t(uint32_t segment)>& device_id, uint16_t zero_device,
    const std::function<Result<void>(std::span<const std::byte>)>& put) {
  std::vector<ChunkIndex> piece;
  const auto append = [&](ChunkIndex index) -> Result<void> {
    piece.push_back(index);
    if (piece.size() < kPieceIndexes) return {};
    TRY(put(std::as_bytes(std::span(piece))));
    piece.clear();
    return {};
  };
  const uint64_t chunk_blocks = (uint64_t{1} << plan.chunk_bits) / kBlockBytes;
  uint64_t chunk = 0;
  for (size_t i = 0; i < file.extents.size(); ++i) {
    const Extent& extent = file.extents[i];
    const uint64_t first = extent.file_offset >> plan.chunk_bits;
    const uint64_t last = (extent.file_offset + extent.bytes - 1) >> plan.chunk_bits;
    for (; chunk < first; ++chunk) TRY(append({0, zero_device, 0}));
    const uint16_t device = device_id(file.slots[i].segment);
    uint64_t block = file.slots[i].offset / kBlockBytes;
    for (; chunk <= last; ++chunk, block += chunk_blocks) {
      TRY(append({0, device, static_cast<uint32_t>(block)}));
    }
  }
  for (; chunk < plan.count; ++chunk) TRY(append({0, zero_device, 0}));
  return piece.empty() ? Result<void>{} : put(std::as_bytes(std::span(piece)));
}

}  // namespace dedup::erofs
