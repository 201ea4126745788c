// pax extended header: "LENGTH KEY=VALUE\n" records that override fields of the next tar header.
// Pure; any thread.
//   source  POSIX.1-2017 pax; star's SCHILY.*; GNU tar's GNU.sparse.* (versions 0.0, 0.1, 1.0). As
//   in Go's archive/tar the
//           last record of a key counts, and an empty value leaves the header's field alone (an
//           empty xattr is set).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_range.h"
#include "base/result.h"
#include "format/layer_index.h"

namespace dedup {

struct PaxTime {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;  // always forward from `seconds`
};

// The GNU.sparse.* records of one file.
struct PaxSparse {
  std::optional<std::string> major;
  std::optional<std::string> minor;
  std::optional<std::string> name;
  std::optional<uint64_t> size;       // of the file with its holes
  std::optional<uint64_t> real_size;  // the same, in other versions
  std::optional<uint64_t> range_count;
  std::vector<ByteRange> ranges;  // 0.0 and 0.1
  bool has_ranges = false;
  std::optional<uint64_t> pending_offset;  // 0.0: waits for its numbytes

  enum class Kind : uint8_t { kNone, kRanges, kMapInData };
  //   errors  kUnsupported: a version nobody knows; kCorruption: records that contradict each
  //   other.
  Result<Kind> kind() const;
  std::optional<uint64_t> file_bytes() const { return size ? size : real_size; }
};

struct PaxRecords {
  std::optional<std::string> path;
  std::optional<std::string> link_path;
  std::optional<uint64_t> size;
  std::optional<uint64_t> uid;
  std::optional<uint64_t> gid;
  std::optional<uint64_t> rdev_major;
  std::optional<uint64_t> rdev_minor;
  std::optional<PaxTime> mtime;
  std::vector<Xattr> xattrs;
  PaxSparse sparse;
};

// errors  kCorruption naming the record.
Result<PaxRecords> parse_pax(std::span<const std::byte> body);

// Decimal digits only. nullopt: anything else, or over 2^63 - 1.
std::optional<uint64_t> parse_decimal(std::string_view text);

}  // namespace dedup
