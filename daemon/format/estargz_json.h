// The JSON of an eStargz TOC, entry by entry, without a document in memory. Knows JSON and the
// names and kinds of the fields; what they mean is estargz_toc.cc's business. Pure; one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "format/layer_index.h"

namespace dedup {

// One element of "entries". Absent text is "", absent numbers are 0 but for offset.
struct TocEntry {
  std::string name;
  std::string type;
  std::string link_name;
  std::string modtime;
  std::string digest;
  std::string chunk_digest;
  uint64_t size = 0;
  uint64_t mode = 0;
  uint64_t uid = 0;
  uint64_t gid = 0;
  uint64_t dev_major = 0;
  uint64_t dev_minor = 0;
  std::optional<uint64_t> offset;
  uint64_t inner_offset = 0;
  uint64_t chunk_offset = 0;
  uint64_t chunk_size = 0;
  std::vector<Xattr> xattrs;  // values decoded from base64, in the order written
};

// The entry may be moved from.
using TocEntrySink = std::function<Result<void>(TocEntry& entry)>;

// Calls the sink for each entry in order. Unknown fields are skipped, whatever they hold.
//   errors  kCorruption: not JSON, no "entries"; kInvalid naming the entry's number: a field of the
//   wrong kind, a
//           negative, fractional or too large number, bad base64; kUnsupported: a version other
//           than 1; the sink's own.
Result<void> read_toc_json(std::span<const std::byte> json, const TocEntrySink& sink);

}  // namespace dedup
