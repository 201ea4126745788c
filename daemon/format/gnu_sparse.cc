#include "format/gnu_sparse.h"

#include "base/bytes.h"
#include "format/pax.h"

namespace dedup {

Result<void> SparseMapText::take_line() {
  const auto number = parse_decimal(x_line);
  x_line.clear();
  if (!number) return make_error(Errc::kCorruption, "sparse map has a bad number");
  if (!x_count) {
    if (*number > kMaxSparseRanges) {
      return make_error(Errc::kInvalid, "sparse map has too many ranges");
    }
    x_count = number;
  } else if (!x_offset) {
    x_offset = number;
  } else {
    x_ranges.push_back({*x_offset, *number});
    x_offset.reset();
  }
  return {};
}

Result<bool> SparseMapText::take_block(std::span<const std::byte> block) {
  constexpr size_t kMaxDigits = 20;
  for (const char c : as_text(block)) {
    if (c == '\n') {
      TRY(take_line());
      if (x_count == x_ranges.size()) return true;
    } else if (x_line.size() == kMaxDigits) {
      return make_error(Errc::kCorruption, "sparse map has a bad number");
    } else {
      x_line += c;
    }
  }
  return false;
}

Result<void> check_sparse_map(std::span<const ByteRange> ranges, uint64_t file_bytes,
                              uint64_t stored_bytes) {
  uint64_t end = 0;
  uint64_t total = 0;
  for (const ByteRange& range : ranges) {
    const auto stop = checked_add(range.offset, range.length);
    if (range.offset < end || !stop || *stop > file_bytes) {
      return make_error(Errc::kCorruption, "sparse map is out of order or beyond the file");
    }
    end = *stop;
    total += range.length;  // ranges do not overlap: at most file_bytes
  }
  if (total != stored_bytes) {
    return make_error(Errc::kCorruption, "sparse map does not match the stored data");
  }
  return {};
}

}  // namespace dedup
