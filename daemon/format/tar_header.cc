#include "format/tar_header.h"

#include <algorithm>
#include <string_view>

#include "base/bytes.h"

namespace dedup {
namespace {

using Block = std::span<const std::byte>;

std::string text_field(Block block, size_t offset, size_t bytes) {
  const std::string_view field = as_text(block.subspan(offset, bytes));
  return std::string(field.substr(0, std::min(field.find('\0'), field.size())));
}

// Base-256: big-endian two's complement in all bits but the first.
std::optional<int64_t> parse_base256(std::string_view field) {
  const bool negative = (field[0] & 0x40) != 0;
  int64_t value = negative ? -1 : 0;
  for (size_t i = 0; i < field.size(); ++i) {
    auto byte = static_cast<uint8_t>(field[i]);
    if (i == 0) byte = static_cast<uint8_t>(negative ? byte | 0x80 : byte & 0x7f);
    int64_t shifted = 0;
    if (__builtin_mul_overflow(value, int64_t{256}, &shifted)) return std::nullopt;
    value = shifted + byte;
  }
  return value;
}

// Octal digits with spaces or zero bytes around them; an empty field is 0.
std::optional<int64_t> parse_octal(std::string_view field) {
  while (!field.empty() && (field.front() == ' ' || field.front() == '\0')) field.remove_prefix(1);
  int64_t value = 0;
  size_t at = 0;
  for (; at < field.size() && field[at] >= '0' && field[at] <= '7'; ++at) {
    if (value >> 60 != 0) return std::nullopt;
    value = value * 8 + (field[at] - '0');
  }
  // Go accepts whatever follows a zero byte.
  for (; at < field.size() && field[at] != '\0'; ++at) {
    if (field[at] != ' ') return std::nullopt;
  }
  return value;
}

Result<int64_t> number_field(Block block, size_t offset, size_t bytes, const char* name) {
  const std::string_view field = as_text(block.subspan(offset, bytes));
  const auto value =
      (static_cast<uint8_t>(field[0]) & 0x80) != 0 ? parse_base256(field) : parse_octal(field);
  if (!value)
    return make_error(Errc::kCorruption, std::string("tar header: bad number in ") + name);
  return *value;
}

Result<uint64_t> count_field(Block block, size_t offset, size_t bytes, const char* name) {
  TRY(value, number_field(block, offset, bytes, name));
  if (value < 0) return make_error(Errc::kCorruption, std::string("tar header: negative ") + name);
  return static_cast<uint64_t>(value);
}

// Sum of all bytes, the checksum field counted as spaces; historic writers summed signed chars.
bool checksum_matches(Block block, uint64_t stored) {
  uint64_t unsigned_sum = 0;
  int64_t signed_sum = 0;
  for (size_t i = 0; i < block.size(); ++i) {
    const bool in_field = i >= 148 && i < 156;
    const auto byte = in_field ? uint8_t{' '} : std::to_integer<uint8_t>(block[i]);
    unsigned_sum += byte;
    signed_sum += static_cast<int8_t>(byte);
  }
  return stored == unsigned_sum || static_cast<int64_t>(stored) == signed_sum;
}

Result<void> append_sparse(Block block, size_t offset, size_t entries,
                           std::vector<ByteRange>& data) {
  for (size_t i = 0; i < entries; ++i) {
    const size_t at = offset + i * 24;
    if (block[at] == std::byte{0}) break;  // unused entries are empty
    TRY(start, count_field(block, at, 12, "sparse offset"));
    TRY(bytes, count_field(block, at + 12, 12, "sparse size"));
    data.push_back({start, bytes});
  }
  return {};
}

// Go before 1.8 wrote a ustar prefix into GNU headers, over the times at 345 and 357; images of
// that age still exist. Recognised as newer Go does (golang.org/issue/12594): the times are no
// numbers and the prefix is ASCII.
bool has_go_prefix(Block block) {
  const auto is_number = [&](size_t offset) {
    return block[offset] == std::byte{0} || number_field(block, offset, 12, "time").ok();
  };
  if (is_number(345) && is_number(357)) return false;
  const std::string prefix = text_field(block, 345, 155);
  return !prefix.empty() && std::all_of(prefix.begin(), prefix.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x80;
  });
}

}  // namespace

bool is_zero_block(Block block) {
  return std::all_of(block.begin(), block.end(), [](std::byte b) { return b == std::byte{0}; });
}

Result<TarHeader> parse_tar_header(Block block) {
  TRY(checksum, count_field(block, 148, 8, "checksum"));
  if (!checksum_matches(block, checksum))
    return make_error(Errc::kCorruption, "tar header: checksum is wrong");
  TarHeader header;
  header.type = static_cast<char>(block[156]);
  header.name = text_field(block, 0, 100);
  header.link_name = text_field(block, 157, 100);
  TRY(mode, count_field(block, 100, 8, "mode"));
  header.mode = static_cast<uint32_t>(mode & 07777);
  TRY(uid, count_field(block, 108, 8, "uid"));
  header.uid = uid;
  TRY(gid, count_field(block, 116, 8, "gid"));
  header.gid = gid;
  TRY(size, count_field(block, 124, 12, "size"));
  header.size = size;
  TRY(mtime, number_field(block, 136, 12, "mtime"));
  header.mtime_seconds = mtime;
  const std::string_view magic = as_text(block.subspan(257, 8));
  const bool ustar = magic.starts_with(std::string_view("ustar\0", 6));
  const bool is_gnu = magic == std::string_view("ustar  \0", 8);
  if (ustar || is_gnu) {
    TRY(rdev_major, count_field(block, 329, 8, "device major"));
    TRY(rdev_minor, count_field(block, 337, 8, "device minor"));
    header.rdev_major = rdev_major;
    header.rdev_minor = rdev_minor;
  }
  if (ustar) {
    // star keeps times behind a shorter prefix.
    const bool star = as_text(block.subspan(508, 4)) == std::string_view("tar\0", 4);
    const std::string prefix = text_field(block, 345, star ? 131 : 155);
    if (!prefix.empty()) header.name = prefix + "/" + header.name;
  } else if (is_gnu && has_go_prefix(block)) {
    header.name = text_field(block, 345, 155) + "/" + header.name;
  }
  return header;
}

Result<GnuSparseBlock> parse_gnu_sparse_header(Block block, uint64_t& real_size) {
  GnuSparseBlock sparse;
  TRY(append_sparse(block, 386, 4, sparse.data));
  sparse.continued = block[482] != std::byte{0};
  TRY(real, count_field(block, 483, 12, "real size"));
  real_size = real;
  return sparse;
}

Result<GnuSparseBlock> parse_gnu_sparse_extension(Block block) {
  GnuSparseBlock sparse;
  TRY(append_sparse(block, 0, 21, sparse.data));
  sparse.continued = block[504] != std::byte{0};
  return sparse;
}

}  // namespace dedup
