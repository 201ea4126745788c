#include "doors/fuse_protocol.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>

#include "base/bytes.h"

namespace dedup {
namespace {

constexpr uint32_t kFirstMinor = 36;          // Linux 5.19
constexpr uint64_t kFirstSegmentNode = 2;     // 1 is the root
constexpr uint64_t kForEver_s = 365 * 86400;  // attributes never change
constexpr uint32_t kMaxWriteBytes = 4096;     // nobody writes; more would want a longer buffer

// ASYNC_DIO keeps readers killable where the kernel heeds it (6.18 does, 6.12 does not): EROFS
// sends its reads and the reader waits for its own page. For those that wait in FUSE:
// fuse_interrupt.h.
constexpr uint32_t kWantedFlags = FUSE_ASYNC_DIO | FUSE_MAX_PAGES;

}  // namespace

Result<FuseRequest> parse_fuse_request(std::span<const std::byte> bytes) {
  fuse_in_header header;
  if (bytes.size() < sizeof(header)) return make_error(Errc::kCorruption, "short FUSE request");
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.len < sizeof(header)) {
    return make_error(Errc::kCorruption, "FUSE request with a wrong length");
  }
  const size_t kept = std::min<size_t>(header.len, bytes.size());
  return FuseRequest{header.opcode, header.unique, header.nodeid, header.pid,
                     bytes.subspan(sizeof(header), kept - sizeof(header))};
}

std::optional<fuse_init_out> init_answer(const FuseRequest& request, uint16_t max_background) {
  const auto in = fuse_argument<fuse_init_in>(request);
  fuse_init_out out{};
  out.major = FUSE_KERNEL_VERSION;
  out.minor = FUSE_KERNEL_MINOR_VERSION;
  if (!in || in->major < out.major) return std::nullopt;
  if (in->major > out.major) return out;  // the kernel asks again, in our version
  if (in->minor < kFirstMinor) return std::nullopt;
  out.minor = std::min(out.minor, in->minor);
  out.max_readahead = in->max_readahead;
  out.flags = in->flags & kWantedFlags;
  out.max_background = max_background;
  out.congestion_threshold = static_cast<uint16_t>(max_background / 4 * 3);
  out.max_write = kMaxWriteBytes;
  out.time_gran = 1;
  out.max_pages = static_cast<uint16_t>(kFuseMaxReadBytes / 4096);
  return out;
}

uint64_t fuse_node(uint32_t segment) {
  return segment + kFirstSegmentNode;
}

std::optional<uint32_t> fuse_segment(uint64_t node) {
  if (node < kFirstSegmentNode || node - kFirstSegmentNode > UINT32_MAX) return std::nullopt;
  return static_cast<uint32_t>(node - kFirstSegmentNode);
}

std::string fuse_name(uint32_t segment) {
  char name[16];
  std::snprintf(name, sizeof(name), "%08u", segment);
  return name;
}

std::optional<uint32_t> looked_up_segment(const FuseRequest& request) {
  const std::string_view text = as_text(request.arguments);
  const size_t length = text.find('\0');
  if (length == std::string_view::npos) return std::nullopt;
  const std::string_view name = text.substr(0, length);
  uint32_t segment = 0;
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), segment);
  if (parsed.ec != std::errc() || fuse_name(segment) != name) return std::nullopt;
  return segment;
}

// No cache of FUSE's own: the EROFS page and the data file's page are enough copies, and readahead
// here would fetch what nobody asked for.
fuse_open_out opened_file() {
  fuse_open_out out{};
  out.open_flags = FOPEN_DIRECT_IO;
  return out;
}

fuse_attr_out root_attributes() {
  fuse_attr_out out{};
  out.attr_valid = kForEver_s;
  out.attr.ino = FUSE_ROOT_ID;
  out.attr.mode = S_IFDIR | 0500;
  out.attr.nlink = 2;
  return out;
}

fuse_attr_out file_attributes(uint32_t segment, uint64_t bytes) {
  fuse_attr_out out{};
  out.attr_valid = kForEver_s;
  out.attr.ino = fuse_node(segment);
  out.attr.size = bytes;
  out.attr.blocks = bytes / 512;
  out.attr.mode = S_IFREG | 0400;
  out.attr.nlink = 1;
  out.attr.blksize = 4096;
  return out;
}

// The entry is valid for no time at all: each mount looks its devices up, and a segment that is
// gone, or another one under its number, is noticed.
fuse_entry_out file_entry(uint32_t segment, uint64_t bytes) {
  fuse_entry_out out{};
  out.nodeid = fuse_node(segment);
  out.attr_valid = kForEver_s;
  out.attr = file_attributes(segment, bytes).attr;
  return out;
}

std::optional<ByteRange> read_range(const FuseRequest& request, uint64_t file_bytes) {
  const auto in = fuse_argument<fuse_read_in>(request);
  if (!in || in->size > kFuseMaxReadBytes) return std::nullopt;
  if (in->offset >= file_bytes) return ByteRange{file_bytes, 0};
  return ByteRange{in->offset, std::min<uint64_t>(in->size, file_bytes - in->offset)};
}

fuse_out_header answer_header(uint64_t unique, int number, size_t payload_bytes) {
  fuse_out_header header{};
  header.len = static_cast<uint32_t>(sizeof(header) + (number == 0 ? payload_bytes : 0));
  header.error = -number;
  header.unique = unique;
  return header;
}

}  // namespace dedup
