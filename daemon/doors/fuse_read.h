// Bytes of a segment for the answer to a READ.
#pragma once

#include <memory>
#include <span>

#include "base/byte_range.h"
#include "base/bytes.h"
#include "doors/fuse_files.h"

namespace dedup {

// Reads that cost a copy and no more. Loop thread.
class CachedReads {
 public:
  // All of `range`, valid until the next call; empty when the page cache does not hold all of it.
  //   range   at most kFuseMaxReadBytes, within the file
  std::span<const std::byte> read(const FuseFile& file, ByteRange range);

 private:
  std::unique_ptr<std::byte[]> x_buffer =
      std::make_unique_for_overwrite<std::byte[]>(kFuseMaxReadBytes);
};

// Any thread; blocks.
//   errors  kCorruption: the data file ends before the range does
Result<Bytes> read_from_disk(const FuseFile& file, ByteRange range);

}  // namespace dedup
