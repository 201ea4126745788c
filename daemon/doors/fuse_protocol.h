// The messages of /dev/fuse, as far as one read-only file per segment needs them: requests out of
// the bytes that read(2) gave or a dead worker left in the journal, and what answers say. Pure; any
// thread.
//
//   source  <linux/fuse.h>, protocol 7.36 (Linux 5.19) and later; names of fields follow it
#pragma once

#include <linux/fuse.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/byte_range.h"
#include "base/result.h"

namespace dedup {

inline constexpr uint32_t kFuseMaxReadBytes = 1u << 20;  // 256 pages, what every kernel allows
inline constexpr size_t kFuseMinBufferBytes = FUSE_MIN_READ_BUFFER;  // read(2) wants room for it

struct FuseRequest {
  uint32_t opcode = 0;
  uint64_t unique = 0;  // the kernel's name of the request; never used again on this connection
  uint64_t node = 0;
  uint32_t pid = 0;
  std::span<const std::byte> arguments;  // after the header; of a long request only the beginning
};

// bytes: may hold less than the whole request, and more after it.
//   errors  kCorruption: no request
Result<FuseRequest> parse_fuse_request(std::span<const std::byte> bytes);

// The request's fixed argument, or none when the request is too short for it.
template <typename T>
std::optional<T> fuse_argument(const FuseRequest& request) {
  if (request.arguments.size() < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, request.arguments.data(), sizeof(T));
  return value;
}

// What INIT asks for and gets. None: an INIT of a protocol before 7.36.
//   max_background  reads that may wait at once; above it readers wait in line
std::optional<fuse_init_out> init_answer(const FuseRequest& request, uint16_t max_background);

// Files: segment N is node N + 2, named by its number with at least 8 digits.
uint64_t fuse_node(uint32_t segment);
std::optional<uint32_t> fuse_segment(uint64_t node);
std::string fuse_name(uint32_t segment);
// The segment LOOKUP asks for, or none: no name of a segment.
std::optional<uint32_t> looked_up_segment(const FuseRequest& request);

fuse_attr_out root_attributes();
fuse_attr_out file_attributes(uint32_t segment, uint64_t bytes);
fuse_entry_out file_entry(uint32_t segment, uint64_t bytes);
fuse_open_out opened_file();

// The bytes a READ is to be answered with: of a file of `file_bytes`, never beyond its end.
std::optional<ByteRange> read_range(const FuseRequest& request, uint64_t file_bytes);

// number: 0, or an errno, in which case the answer is the header alone.
fuse_out_header answer_header(uint64_t unique, int number, size_t payload_bytes);

}  // namespace dedup
