// Readahead: sees which pieces the readers of a segment touch, and says which to fetch before they
// ask: pieces lie in the order of the layer's files, so a large file read from its beginning is a
// run of neighbours. Without it a sequential reader, the network and the decoder take turns. Owned
// by Pool; loop thread; no I/O.
//
// A guess is never larger than half of what was read in order just before it, at least 8 MiB, so a
// reader that stops costs little, and a program that opens some small files causes none.
#pragma once

#include <array>
#include <unordered_map>

#include "pool/segment.h"

namespace dedup {

// What to bring along when a reader needs `missing` and waits for it: up to the last missing piece
// that the blob has after it in `max_bytes` (compressed) from its beginning; what lies between may
// be there already. A start is one process that
// opens one small file after the other; each would cost a round trip, in which the link can carry
// many. Files of a directory lie together in a layer and are mostly used together.
Segment::PieceSpan pieces_behind(const Segment& segment, size_t missing, uint64_t max_bytes);

class Readahead {
 public:
  // max_bytes: the most to be ahead of one reader, uncompressed; 0: never guess.
  explicit Readahead(uint64_t max_bytes) : x_max_bytes(max_bytes) {}

  // A reader wants `touched`.
  //   returns pieces to bring in now, each named once per run; mostly empty
  Segment::PieceSpan touch(const Segment& segment, Segment::PieceSpan touched);
  // No more guesses for it.
  void forget(SegmentId segment) { x_segments.erase(segment); }

 private:
  // A reader that goes through a segment from one piece to the next.
  struct Run {
    size_t next = 0;           // the piece after the last one touched
    size_t ahead = 0;          // pieces before it have been named
    uint64_t bytes = 0;        // before `next`
    uint64_t ahead_bytes = 0;  // from `next` to `ahead`
    uint64_t used = 0;         // when, counted in touches; 0: never
  };
  static constexpr size_t kRunsPerSegment = 8;
  using Runs = std::array<Run, kRunsPerSegment>;

  Run& run_of(Runs& runs, Segment::PieceSpan touched);

  uint64_t x_max_bytes;
  uint64_t x_touches = 0;
  std::unordered_map<SegmentId, Runs> x_segments;
};

}  // namespace dedup
