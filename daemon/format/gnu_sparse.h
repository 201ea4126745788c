// GNU sparse maps: which ranges of a file the bytes stored in the archive fill. SparseMapText reads
// version 1.0, where the map is decimal lines before the data; check_sparse_map judges the map of
// any version. Pure; one thread at a time.
//   source  GNU tar manual, "Storing Sparse Files".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/byte_range.h"
#include "base/result.h"

namespace dedup {

inline constexpr uint64_t kMaxSparseRanges = 1u << 20;

class SparseMapText {
 public:
  // The next block: "COUNT\n", then "OFFSET\nLENGTH\n" COUNT times; zero bytes fill the last block.
  //   returns true once the map is complete; errors kCorruption, kInvalid (more than
  //   kMaxSparseRanges).
  Result<bool> take_block(std::span<const std::byte> block);
  std::vector<ByteRange> take_ranges() { return std::exchange(x_ranges, {}); }

 private:
  Result<void> take_line();

  std::string x_line;  // decimal digits so far
  std::optional<uint64_t> x_count;
  std::optional<uint64_t> x_offset;
  std::vector<ByteRange> x_ranges;
};

// In order, without overlap, inside the file, and as many bytes as the archive stores.
//   errors  kCorruption
Result<void> check_sparse_map(std::span<const ByteRange> ranges, uint64_t file_bytes,
                              uint64_t stored_bytes);

}  // namespace dedup
