// One 512-byte tar header block as numbers and text, nothing interpreted beyond the block. Pure;
// any thread.
//
//   offset  bytes  field          offset  bytes  field
//        0    100  name              257      8  magic + version ("ustar\0" "00", GNU: "ustar  \0")
//      100      8  mode              329      8  device major
//      108      8  uid               337      8  device minor
//      116      8  gid               345    155  prefix (ustar)
//      124     12  size              386     96  GNU: 4 sparse entries {offset 12, bytes 12}
//      136     12  mtime             482      1  GNU: another sparse block follows
//      148      8  checksum          483     12  GNU: real size
//      156      1  type flag
//      157    100  link name         numbers: octal, or base-256 when the first bit is set (GNU,
//      star)
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/byte_range.h"
#include "base/result.h"

namespace dedup {

inline constexpr size_t kTarBlockBytes = 512;

struct TarHeader {
  char type = 0;
  std::string name;  // with the ustar prefix
  std::string link_name;
  uint32_t mode = 0;
  uint64_t uid = 0;
  uint64_t gid = 0;
  uint64_t size = 0;
  int64_t mtime_seconds = 0;
  uint64_t rdev_major = 0;
  uint64_t rdev_minor = 0;
};

// Old GNU sparse entries: of the header (at 386, 4 of them) or of an extension block (at 0, 21 of
// them).
struct GnuSparseBlock {
  std::vector<ByteRange> data;  // file ranges that have data
  bool continued = false;       // another extension block follows
};

bool is_zero_block(std::span<const std::byte> block);

// errors  kCorruption: checksum or a number is wrong.
Result<TarHeader> parse_tar_header(std::span<const std::byte> block);
Result<GnuSparseBlock> parse_gnu_sparse_header(std::span<const std::byte> block,
                                               uint64_t& real_size);
Result<GnuSparseBlock> parse_gnu_sparse_extension(std::span<const std::byte> block);

}  // namespace dedup
