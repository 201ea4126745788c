#include "pool/block_run.h"

#include <cstring>

#include "base/bytes.h"

namespace dedup {

BlockRun::BlockRun(std::shared_ptr<Segment> segment, Segment::PieceSpan pieces)
    : x_segment(std::move(segment)), x_pieces(pieces), x_expected(pieces.last - pieces.first) {
  const uint64_t begin = round_down(x_segment->piece(pieces.first).offset, kPoolBlockBytes);
  const uint64_t end = x_segment->piece(pieces.last - 1).range().end();
  x_blocks = {begin, round_up(end, kPoolBlockBytes) - begin};
}

std::span<std::byte> BlockRun::place_of(ByteRange piece) {
  std::call_once(x_allocated, [this] {
    x_bytes.reset(static_cast<std::byte*>(std::aligned_alloc(kPoolBlockBytes, x_blocks.length)));
    if (x_bytes == nullptr) std::abort();
    std::memset(x_bytes.get(), 0, x_blocks.length);
  });
  return {x_bytes.get() + (piece.offset - x_blocks.offset), piece.length};
}

Result<void> BlockRun::arrived() {
  if (x_expected.fetch_sub(1) != 1) return {};
  const auto bytes = std::move(x_bytes);  // callers keep the run until their whole range is there
  return x_segment->write_blocks(x_blocks.offset, {bytes.get(), x_blocks.length});
}

}  // namespace dedup
