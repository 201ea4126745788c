// The chunks of an eStargz layer: assembles those of one file into extents, and knows where every
// one of the layer lies in the blob. Pure; one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/entry.h"
#include "format/estargz_json.h"
#include "format/layer_builder.h"
#include "format/layer_index.h"

namespace dedup {

// Blob places of all chunks of a layer. A chunk's compressed bytes end where the next gzip member
// that a TOC entry names begins, or where the TOC begins: only known when all entries were read.
class ChunkPlaces {
 public:
  explicit ChunkPlaces(uint64_t toc_offset) : x_toc_offset(toc_offset) {}

  // errors  kInvalid: offset missing or not before the TOC.
  Result<void> add(const TocEntry& entry, uint64_t bytes);

  // Sets blob_bytes of every chunk.
  //   errors  kInvalid: two entries claim the same bytes; kNoSpace: a member over
  //   limits.max_chunk_bytes.
  Result<void> resolve(std::vector<Chunk>& chunks, const LayerLimits& limits);

 private:
  struct Place {
    uint64_t offset = 0;
    uint64_t inner_offset = 0;
    uint64_t bytes = 0;
    auto operator<=>(const Place&) const = default;
  };
  uint64_t x_toc_offset;
  std::vector<Place> x_places;
};

// One regular file whose chunk entries are still arriving.
class ChunkedFile {
 public:
  // `reg` is the file's own entry, which is also its first chunk.
  static Result<ChunkedFile> start(const TocEntry& reg, const LayerLimits& limits,
                                   ChunkPlaces& places);

  // The next chunk entry.
  Result<void> add(const TocEntry& chunk, const LayerLimits& limits, ChunkPlaces& places);

  // All entries of the file were read: checks that the chunks cover it and hands its extents to the
  // builder, which was given the file's Entry just before.
  Result<void> finish(LayerBuilder& builder, uint32_t chunk_bytes);

 private:
  Result<void> check_digests();

  uint64_t x_bytes = 0;
  uint64_t x_covered = 0;
  Digest x_digest;  // of the whole file; zero when the TOC gives none
  std::vector<Chunk> x_chunks;
};

}  // namespace dedup
