// LayerWriter: one streaming pass of a layer into the pool: entries and extents in archive order;
// extents the pool does not have are appended to a new segment file, others are referenced where
// they are. Add -> finish | drop: a dropped writer removes its file. Belongs to one job at a time
// (worker threads); blocking.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "base/unique_fd.h"
#include "format/layer_builder.h"
#include "pool/pool.h"

namespace dedup {

class LayerWriter {
 public:
  // segment: a fresh number. missing: pieces this pass may fill on its way (Pool::missing).
  //   errors  kNoSpace, kIo
  static Result<std::unique_ptr<LayerWriter>> open(Catalog& catalog,
                                                   const std::string& pool_directory,
                                                   SegmentId segment,
                                                   std::shared_ptr<const Pool::MissingMap> missing,
                                                   uint32_t chunk_bytes, LayerLimits limits);
  ~LayerWriter();
  LayerWriter(const LayerWriter&) = delete;
  LayerWriter& operator=(const LayerWriter&) = delete;

  Result<void> add(Entry entry) { return x_builder.add(std::move(entry)); }
  // The next extent of the regular file last added; identity is the sha256 of bytes.
  Result<void> add_extent(uint64_t file_offset, std::span<const std::byte> bytes, Digest identity);

  // Everything was added and verified by the caller: the plan for Pool::add_layer. The segment file
  // now belongs to it.
  Result<LayerPlan> finish(LayerRecord record);

  // Pieces of other segments this pass has written; the caller tells Pool::mark_present, whatever
  // becomes of the layer.
  const std::vector<std::pair<SegmentId, size_t>>& filled() const { return x_filled; }

 private:
  LayerWriter(Catalog& catalog, uint32_t chunk_bytes, LayerLimits limits)
      : x_catalog(catalog), x_builder(chunk_bytes, limits) {}
  Result<Slot> append(std::span<const std::byte> bytes);
  Result<void> fill_missing(Slot slot, std::span<const std::byte> bytes, const Digest& identity);

  Catalog& x_catalog;
  LayerBuilder x_builder;
  SegmentId x_segment = 0;
  std::string x_path;
  UniqueFd x_file;
  uint64_t x_end = 0;  // where the next slot starts
  uint64_t x_written_back = 0;
  std::shared_ptr<const Pool::MissingMap> x_missing;
  std::unordered_map<Digest, Slot> x_slots;
  std::vector<std::pair<SegmentId, size_t>> x_filled;
  bool x_finished = false;
};

}  // namespace dedup
