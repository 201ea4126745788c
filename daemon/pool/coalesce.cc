#include "pool/coalesce.h"

#include <algorithm>

namespace dedup {

std::vector<CoalescedRead> coalesce(std::span<const ByteRange> wanted,
                                    const CoalesceLimits& limits) {
  std::vector<CoalescedRead> reads;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const ByteRange next = wanted[i];
    if (!reads.empty()) {
      CoalescedRead& open = reads.back();
      const bool near =
          next.offset <= open.range.end() || next.offset - open.range.end() <= limits.max_gap_bytes;
      const uint64_t end = std::max(open.range.end(), next.end());
      if (near && (end == open.range.end() || end - open.range.offset <= limits.max_read_bytes)) {
        open.range.length = end - open.range.offset;
        open.last = i + 1;
        continue;
      }
    }
    reads.push_back({next, i, i + 1});
  }
  return reads;
}

}  // namespace dedup
