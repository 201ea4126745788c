// ByteRange: half-open interval [offset, offset + length). Inclusive ends exist only where an HTTP
// Range is printed.
#pragma once

#include <algorithm>
#include <cstdint>

namespace dedup {

struct ByteRange {
  uint64_t offset = 0;
  uint64_t length = 0;

  constexpr uint64_t end() const { return offset + length; }
  constexpr bool empty() const { return length == 0; }
  constexpr bool overlaps(ByteRange other) const {
    return offset < other.end() && other.offset < end();
  }
  constexpr bool contains(ByteRange other) const {
    return offset <= other.offset && other.end() <= end();
  }
  constexpr ByteRange intersect(ByteRange other) const {
    const uint64_t begin = std::max(offset, other.offset);
    const uint64_t stop = std::min(end(), other.end());
    return begin < stop ? ByteRange{begin, stop - begin} : ByteRange{begin, 0};
  }
  bool operator==(const ByteRange&) const = default;
};

}  // namespace dedup
