// Catalog: index.db, the durable list of what the pool holds: chunks with reference counts,
// segments, layers. Owned by Pool; blocking, so workers call it. The fault path never comes here.
//
//   chunks        one row per distinct extent: digest -> slot. ref_count = how many file extents of
//   all layers use it. dead_slots    places of chunks no layer uses any more, until their bytes are
//   freed. layers        one row per layer blob (or imported directory), written when the layer is
//   usable, never before. layer_chunks  how often a layer uses a chunk: what a removal takes back.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "format/layer_index.h"
#include "pool/segment.h"
#include "pool/sqlite.h"

namespace dedup {

struct LayerRecord {
  Digest digest;  // layer blob digest; imported directories: sha256 of their index file
  Digest diff_id;
  std::string format;       // "estargz", "tar", "directory"
  uint64_t blob_bytes = 0;  // compressed
  uint64_t data_bytes = 0;  // uncompressed file bytes, before deduplication
  SegmentId segment = 0;    // the segment of the extents it brought; kZeroSegment: it brought none
};

struct CatalogTotals {
  uint64_t chunks = 0;
  uint64_t bytes = 0;
  uint64_t shared_chunks = 0;  // ref_count > 1
  uint64_t shared_bytes = 0;
  uint64_t saved_bytes = 0;  // sum of size * (ref_count - 1)
  uint64_t segments = 0;
  uint64_t layers = 0;
};

struct DeadSlot {
  SegmentId segment = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  int64_t row = 0;
};

class Catalog {
 public:
  static Result<std::unique_ptr<Catalog>> open(const std::string& path);
  Database& database() { return *x_database; }

  Result<std::vector<SegmentId>> segments();
  // A segment number never used before, reserved in this process.
  SegmentId next_segment();

  Result<std::optional<LayerRecord>> layer(Digest digest);
  Result<std::vector<LayerRecord>> layers();
  // A lazy layer only claims what its chunks hash to. With the size in the key, a false claim
  // cannot make a file reach past the slot of the true chunk.
  Result<std::optional<Slot>> find_chunk(Digest digest, uint64_t bytes);

  struct PlacedChunk {
    Digest digest;
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };
  Result<std::vector<PlacedChunk>> chunks_in(SegmentId segment);

  // Inside one transaction (begin .. commit of database()):
  // Adds a layer's references, each chunk (digest and size) once. A chunk gets a row with `slot`
  // when there is none yet; where there is one, its slot stays. Fastest in the order of digests.
  struct ChunkUse {
    Digest digest;
    uint64_t bytes = 0;
    Slot slot;
    uint64_t uses = 0;  // > 0
  };
  Result<void> reference_chunks(int64_t layer_id, std::span<const ChunkUse> chunks);
  Result<int64_t> insert_layer(const LayerRecord& layer);
  Result<void> insert_segment(const SegmentHeader& header);

  // Takes the layer's references back; the slots of chunks nobody uses any more become dead. One
  // transaction.
  Result<void> remove_layer(Digest digest);
  Result<std::vector<DeadSlot>> dead_slots();
  Result<void> forget_dead_slots(std::span<const DeadSlot> slots);  // once their bytes are freed
  // Deletes the rows of segments without any chunk. Their files go next; without a row they are
  // swept anyway.
  Result<std::vector<SegmentId>> forget_empty_segments();

  Result<CatalogTotals> totals();

 private:
  Catalog() = default;
  Result<void> reference_known(int64_t layer_id, const ChunkUse& chunk);
  std::unique_ptr<Database> x_database;
  std::atomic<SegmentId> x_next_segment{1};
};

}  // namespace dedup
