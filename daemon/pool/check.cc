#include "pool/check.h"

#include "pool/files.h"

namespace dedup {
namespace {

// Pieces [first, last) of `segment` that were present when the batch was made.
struct Batch {
  std::shared_ptr<Segment> segment;
  std::vector<size_t> pieces;
};

struct BatchOutcome {
  uint64_t bytes = 0;
  std::vector<size_t> bad;
};

BatchOutcome verify(const Batch& batch) {
  BatchOutcome outcome;
  Bytes content;
  for (const size_t index : batch.pieces) {
    const Piece piece = batch.segment->piece(index);
    content.resize(piece.chunk.bytes);
    outcome.bytes += piece.chunk.bytes;
    const auto read = read_exactly(batch.segment->data_fd(), content, piece.offset, "pool segment");
    if (!read.ok() || sha256(content) != piece.chunk.digest) outcome.bad.push_back(index);
  }
  return outcome;
}

}  // namespace

Task<Result<CheckReport>> check_segments(Workers& workers,
                                         std::vector<std::shared_ptr<Segment>> segments,
                                         bool repair,
                                         std::function<void(uint64_t, uint64_t)> progress) {
  constexpr uint64_t kBatchBytes = 8u << 20;
  CheckReport report;
  uint64_t total_bytes = 0;
  for (const auto& segment : segments) total_bytes += segment->present_bytes();
  for (const auto& segment : segments) {
    size_t next = 0;
    while (next < segment->piece_count()) {
      auto batch = std::make_shared<Batch>(Batch{segment, {}});
      for (uint64_t bytes = 0; next < segment->piece_count() && bytes < kBatchBytes; ++next) {
        const PieceState state = segment->state(next);
        if (state == PieceState::kMissing) report.missing_bytes += segment->piece(next).chunk.bytes;
        if (state != PieceState::kPresent) continue;
        bytes += segment->piece(next).chunk.bytes;
        batch->pieces.push_back(next);
      }
      const auto outcome =
          co_await workers.run(Priority::kBackground, [&] { return verify(*batch); });
      report.checked_pieces += batch->pieces.size();
      report.checked_bytes += outcome.bytes;
      for (const size_t index : outcome.bad) {
        // A removal may have freed the piece while it was read.
        if (segment->state(index) != PieceState::kPresent) continue;
        const Piece piece = segment->piece(index);
        report.bad.push_back({piece.chunk.digest, segment->id(), piece.offset, piece.chunk.bytes});
        if (repair) segment->set_missing(index);
      }
      progress(report.checked_bytes, total_bytes);
    }
  }
  co_return report;
}

}  // namespace dedup
