#include "pool/sweep.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <set>

#include "pool/layer_commit.h"

namespace dedup {
namespace {

// Bytes become holes; the file keeps its size. A file system without hole punching only wastes the
// space.
void punch(int fd, ByteRange range) {
  ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(range.offset),
              static_cast<off_t>(range.length));
}

// The number in "00000012.data", or nullopt.
std::optional<SegmentId> segment_of_file(const std::string& name) {
  SegmentId id = 0;
  const auto [end, failed] = std::from_chars(name.data(), name.data() + name.size(), id);
  if (failed != std::errc() || end == name.data() || *end != '.') return std::nullopt;
  return id;
}

}  // namespace

std::vector<Segment::Dirty> mark_dead(std::span<const DeadSlot> slots, const SegmentMap& segments) {
  std::set<Segment*> touched;
  for (const DeadSlot& slot : slots) {
    const auto owner = segments.find(slot.segment);
    if (owner == segments.end()) continue;
    const auto span = owner->second->pieces_in({slot.offset, slot.bytes});
    for (size_t i = span.first; i < span.last; ++i) owner->second->set_dead(i);
    touched.insert(owner->second.get());
  }
  std::vector<Segment::Dirty> dirty;
  for (Segment* segment : touched) dirty.push_back(segment->take_dirty());
  return dirty;
}

Result<std::vector<SegmentId>> erase_dead(Catalog& catalog, std::span<const DeadSlot> slots,
                                          std::span<const Segment::Dirty> dirty,
                                          const SegmentMap& segments) {
  for (const Segment::Dirty& states : dirty) TRY(Segment::write_states(states));
  for (size_t i = 0; i < slots.size();) {
    // Slots come in order and mostly side by side: one hole for each run of them.
    const SegmentId segment = slots[i].segment;
    ByteRange run{slots[i].offset, 0};
    for (; i < slots.size() && slots[i].segment == segment && slots[i].offset == run.end(); ++i) {
      run.length += round_up(slots[i].bytes, kPoolBlockBytes);
    }
    const auto owner = segments.find(segment);
    if (owner != segments.end()) punch(owner->second->data_fd(), run);
  }
  TRY(catalog.forget_dead_slots(slots));
  return catalog.forget_empty_segments();
}

Result<void> sweep_files(Catalog& catalog, const std::string& directory) {
  TRY(ids, catalog.segments());
  const std::set<SegmentId> known_segments(ids.begin(), ids.end());
  std::error_code failed;
  for (const auto& file : std::filesystem::directory_iterator(directory + "/segments", failed)) {
    const auto id = segment_of_file(file.path().filename().string());
    if (id && *id != kZeroSegment && !known_segments.contains(*id)) ::unlink(file.path().c_str());
  }
  TRY(layers, catalog.layers());
  std::set<std::string> known_files;
  for (const LayerRecord& layer : layers)
    known_files.insert(layer_index_path(directory, layer.digest));
  for (const auto& file : std::filesystem::directory_iterator(directory + "/layers", failed)) {
    if (!known_files.contains(file.path().string())) ::unlink(file.path().c_str());
  }
  return {};
}

std::vector<AlternateChunk> find_alternates(Catalog& catalog, const std::string& directory,
                                            SegmentId segment, const Piece& piece) {
  struct Candidate {
    Digest identity;
    Digest layer;
    uint64_t blob_bytes;
  };
  std::vector<Candidate> candidates;
  uint64_t slot_offset = 0;
  {
    auto held = catalog.database().lock();
    auto rows = catalog.database().prepare(
        "SELECT chunks.digest, chunks.offset, layers.digest, layers.blob_bytes FROM chunks "
        "JOIN layer_chunks ON layer_chunks.chunk = chunks.id JOIN layers ON layers.id = "
        "layer_chunks.layer "
        "WHERE chunks.segment = ?1 AND chunks.offset <= ?2 AND ?2 < chunks.offset + chunks.size "
        "AND layers.segment <> ?1");
    rows.bind(segment, piece.offset);
    for (auto more = rows.step(); more.ok() && *more; more = rows.step()) {
      slot_offset = static_cast<uint64_t>(rows.integer(1));
      candidates.push_back(
          {rows.digest(0), rows.digest(2), static_cast<uint64_t>(rows.integer(3))});
    }
  }
  std::vector<AlternateChunk> alternates;
  for (const Candidate& candidate : candidates) {
    auto layer = load_layer_index(directory, candidate.layer);
    if (!layer.ok()) continue;
    const LayerIndex& index = *layer->index;
    for (const Extent& extent : index.extents) {
      if (extent.identity != candidate.identity) continue;
      uint64_t offset = slot_offset;
      for (uint32_t i = 0; i < extent.chunk_count; ++i) {
        const Chunk& chunk = index.chunks[extent.first_chunk + i];
        if (offset == piece.offset && chunk.bytes == piece.chunk.bytes) {
          alternates.push_back({candidate.layer, candidate.blob_bytes, chunk});
        }
        offset += chunk.bytes;
      }
      break;
    }
  }
  return alternates;
}

}  // namespace dedup
