#include "format/extent_hasher.h"

#include <algorithm>
#include <cstring>

namespace dedup {
namespace {

bool all_zero(std::span<const std::byte> bytes) {
  // Compares the range with itself shifted by one byte: runs at memcmp speed.
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace

void ExtentHasher::begin(uint64_t file_bytes) {
  x_file_bytes = file_bytes;
  x_data_end = 0;
  x_extent_offset = 0;
  x_buffer.clear();
}

uint64_t ExtentHasher::extent_bytes(uint64_t extent_offset) const {
  return std::min<uint64_t>(x_chunk_bytes, x_file_bytes - extent_offset);
}

Result<void> ExtentHasher::data(uint64_t file_offset, std::span<const std::byte> bytes) {
  const bool inside_file =
      file_offset <= x_file_bytes && bytes.size() <= x_file_bytes - file_offset;
  if (!inside_file || file_offset < x_data_end) {
    return make_error(Errc::kInvalid, "file data out of order or past the end of the file");
  }
  x_data_end = file_offset + bytes.size();
  while (!bytes.empty()) {
    const uint64_t extent_offset = round_down(file_offset, x_chunk_bytes);
    if (extent_offset > x_extent_offset) {
      TRY(flush());
      x_extent_offset = extent_offset;
    }
    const uint64_t whole = extent_bytes(extent_offset);
    const uint64_t inside = file_offset - extent_offset;
    const uint64_t take = std::min<uint64_t>(bytes.size(), whole - inside);
    if (take == whole) {
      TRY(emit(extent_offset, bytes.first(take)));
    } else {
      x_buffer.reserve(whole);
      x_buffer.resize(inside);  // zero-fills the hole since the last piece
      x_buffer.insert(x_buffer.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(take));
      if (x_buffer.size() == whole) TRY(flush());
    }
    file_offset += take;
    bytes = bytes.subspan(take);
  }
  return {};
}

Result<void> ExtentHasher::end() {
  return flush();
}

Result<void> ExtentHasher::flush() {
  if (x_buffer.empty()) return {};
  x_buffer.resize(extent_bytes(x_extent_offset));
  auto outcome = emit(x_extent_offset, x_buffer);
  x_buffer.clear();
  return outcome;
}

Result<void> ExtentHasher::emit(uint64_t file_offset, std::span<const std::byte> bytes) {
  if (all_zero(bytes)) return {};
  return x_sink(file_offset, bytes, sha256(bytes));
}

}  // namespace dedup
