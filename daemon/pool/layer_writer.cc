#include "pool/layer_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "pool/block_run.h"
#include "pool/files.h"

namespace dedup {

Result<std::unique_ptr<LayerWriter>> LayerWriter::open(
    Catalog& catalog, const std::string& pool_directory, SegmentId segment,
    std::shared_ptr<const Pool::MissingMap> missing, uint32_t chunk_bytes, LayerLimits limits) {
  std::unique_ptr<LayerWriter> writer(new LayerWriter(catalog, chunk_bytes, limits));
  writer->x_segment = segment;
  writer->x_missing = std::move(missing);
  writer->x_path = Segment::data_path(pool_directory + "/segments", segment);
  TRY(file, open_file(writer->x_path, O_RDWR | O_CREAT | O_TRUNC));
  writer->x_file = std::move(file);
  return writer;
}

LayerWriter::~LayerWriter() {
  if (!x_finished && x_file.valid()) ::unlink(x_path.c_str());
}

Result<void> LayerWriter::add_extent(uint64_t file_offset, std::span<const std::byte> bytes,
                                     Digest identity) {
  auto known = x_slots.find(identity);
  if (known == x_slots.end()) {
    TRY(in_pool, x_catalog.find_chunk(identity, bytes.size()));
    Slot slot;
    if (in_pool) {
      slot = *in_pool;
      TRY(fill_missing(slot, bytes, identity));
    } else {
      TRY(appended, append(bytes));
      slot = appended;
    }
    x_slots.emplace(identity, slot);
  }
  Extent extent;
  extent.identity = identity;
  extent.file_offset = file_offset;
  extent.bytes = bytes.size();
  return x_builder.add_extent(extent, {});
}

Result<Slot> LayerWriter::append(std::span<const std::byte> bytes) {
  constexpr uint64_t kWriteBackBytes = 16u << 20;
  const Slot slot{x_segment, x_end};
  TRY(write_exactly(x_file.get(), bytes, x_end, x_path));
  x_end = round_up(x_end + bytes.size(), kPoolBlockBytes);
  if (x_end - x_written_back >= kWriteBackBytes) {
    // Starts write-back early, so that the fdatasync at commit finds little left to do.
    ::sync_file_range(x_file.get(), static_cast<off_t>(x_written_back),
                      static_cast<off_t>(x_end - x_written_back), SYNC_FILE_RANGE_WRITE);
    x_written_back = x_end;
  }
  return slot;
}

// The bytes are at hand and verified by their digest: a lazy layer's missing piece of the same
// content is filled too.
Result<void> LayerWriter::fill_missing(Slot slot, std::span<const std::byte> bytes,
                                       const Digest& identity) {
  const auto incomplete = x_missing->find(slot.segment);
  if (incomplete == x_missing->end()) return {};
  const auto& [segment, states] = incomplete->second;
  const auto [index, end] = segment->pieces_in({slot.offset, bytes.size()});
  if (index == end || states[index] != PieceState::kMissing) return {};
  const Piece piece = segment->piece(index);
  if (piece.offset != slot.offset || piece.chunk.digest != identity ||
      piece.chunk.bytes != bytes.size())
    return {};
  if (segment->writes_whole_blocks()) {
    BlockRun run(segment, {index, index + 1});  // a piece with a slot of its own
    std::ranges::copy(bytes, run.place_of(piece.range()).begin());
    TRY(run.arrived());
  } else {
    TRY(write_exactly(segment->data_fd(), bytes, slot.offset, "pool segment"));
  }
  x_filled.emplace_back(slot.segment, index);
  return {};
}

Result<LayerPlan> LayerWriter::finish(LayerRecord record) {
  TRY(index, x_builder.finish());
  // Here, because the commit keeps the catalogue locked until all is on the disk, and other passes
  // ask it for every extent: it finds little left to wait for.
  TRY(sync_file(x_file.get(), x_path));
  x_finished = true;
  LayerPlan plan;
  plan.record = std::move(record);
  plan.index = std::move(index);
  plan.segment = x_segment;
  plan.streamed = std::move(x_slots);
  plan.is_streamed = true;
  return plan;
}

}  // namespace dedup
