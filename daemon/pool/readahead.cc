#include "pool/readahead.h"

#include <algorithm>

namespace dedup {
namespace {

// Shorter runs are some neighbouring small files, or the few pages a program reads of a library.
constexpr uint64_t kShortestRunBytes = 8ull << 20;

uint64_t bytes_of(const Segment& segment, Segment::PieceSpan pieces) {
  uint64_t bytes = 0;
  for (size_t i = pieces.first; i < pieces.last; ++i) bytes += segment.piece(i).chunk.bytes;
  return bytes;
}

}  // namespace

Segment::PieceSpan pieces_behind(const Segment& segment, size_t missing, uint64_t max_bytes) {
  Segment::PieceSpan behind{missing + 1, missing + 1};
  const uint64_t begin = segment.piece(missing).chunk.blob_offset;
  for (size_t i = missing + 1; i < segment.piece_count(); ++i) {
    const Piece piece = segment.piece(i);
    if (!piece.has_random_access() || piece.chunk.blob_offset < begin) break;
    if (piece.chunk.blob_offset + piece.chunk.blob_bytes - begin > max_bytes) break;
    if (segment.state(i) == PieceState::kMissing) behind.last = i + 1;
  }
  return behind;
}

// The run that `touched` goes on with, else the one that nobody has used for longest, begun anew.
Readahead::Run& Readahead::run_of(Runs& runs, Segment::PieceSpan touched) {
  for (Run& run : runs) {
    if (run.used != 0 && touched.first <= run.next && touched.last >= run.next) return run;
  }
  Run& oldest = *std::ranges::min_element(runs, {}, &Run::used);
  oldest = {touched.first, touched.first, 0, 0, 0};
  return oldest;
}

Segment::PieceSpan Readahead::touch(const Segment& segment, Segment::PieceSpan touched) {
  if (x_max_bytes == 0 || touched.first >= touched.last) return {};
  Run& run = run_of(x_segments[segment.id()], touched);
  run.used = ++x_touches;
  if (touched.last == run.next) return {};  // again in the piece it was in
  run.bytes += bytes_of(segment, {run.next, touched.last});
  run.ahead_bytes -= bytes_of(segment, {run.next, std::clamp(run.ahead, run.next, touched.last)});
  run.next = touched.last;
  run.ahead = std::max(run.ahead, run.next);
  if (run.bytes < kShortestRunBytes) return {};
  const uint64_t window = std::min(run.bytes / 2, x_max_bytes);
  Segment::PieceSpan guess{run.ahead, run.ahead};
  while (guess.last < segment.piece_count()) {
    const Piece piece = segment.piece(guess.last);
    if (run.ahead_bytes + piece.chunk.bytes > window || !piece.has_random_access()) break;
    run.ahead_bytes += piece.chunk.bytes;
    ++guess.last;
  }
  run.ahead = guess.last;
  return guess;
}

}  // namespace dedup
