// BlockRun: pieces of a segment that share 4 KiB blocks, gathered in memory and written as one with
// O_DIRECT once all are there: a block half of which is still missing must stay a hole. Mostly a
// run is one piece. Made and ended by the Fetcher on the loop thread; pieces come on workers.
#pragma once

#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "pool/segment.h"

namespace dedup {

class BlockRun {
 public:
  // segment: writes whole blocks. pieces: Segment::run_around of any of them, all missing.
  BlockRun(std::shared_ptr<Segment> segment, Segment::PieceSpan pieces);

  // Where the bytes of `piece` go. Any thread; the places of two pieces do not overlap.
  std::span<std::byte> place_of(ByteRange piece);
  // One piece is in its place and verified; once for each. The last one writes the run. Any thread.
  Result<void> arrived();

  size_t piece_count() const { return x_pieces.last - x_pieces.first; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };

  std::shared_ptr<Segment> x_segment;
  Segment::PieceSpan x_pieces;
  ByteRange x_blocks;
  std::once_flag x_allocated;
  std::unique_ptr<std::byte, Free> x_bytes;  // zeros where no piece is
  std::atomic<size_t> x_expected;
};

}  // namespace dedup
