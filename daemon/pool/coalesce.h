// coalesce: one pure function that turns wanted pieces of a blob into the ranged reads to issue.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/byte_range.h"

namespace dedup {

struct CoalesceLimits {
  uint64_t max_gap_bytes = 16u << 10;  // unwanted bytes worth reading to save a request
  uint64_t max_read_bytes = 4u << 20;  // of one read; a single larger piece is still one read
};

struct CoalescedRead {
  ByteRange range;   // of the blob
  size_t first = 0;  // wanted[first, last) are inside it
  size_t last = 0;
};

//   wanted   blob ranges sorted by offset; equal and overlapping ranges are fine
//   returns  reads in blob order that cover all of them
std::vector<CoalescedRead> coalesce(std::span<const ByteRange> wanted,
                                    const CoalesceLimits& limits);

}  // namespace dedup
