#include "trace/profile.h"

#include <algorithm>

namespace dedup {
namespace {

constexpr size_t kMaxPathBytes = 4095;
constexpr size_t kMaxNameBytes = 255;

// Bytes of the UTF-8 sequence `text` starts with, 0 when there is none (RFC 3629, section 4).
size_t sequence_bytes(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t bytes = first >= 0xC2 && first <= 0xDF   ? 2
                       : first >= 0xE0 && first <= 0xEF ? 3
                       : first >= 0xF0 && first <= 0xF4 ? 4
                                                        : 0;
  if (bytes == 0 || text.size() < bytes) return 0;
  for (size_t i = 1; i < bytes; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xBF) return 0;
  }
  const bool overlong = (first == 0xE0 && byte(1) < 0xA0) || (first == 0xF0 && byte(1) < 0x90);
  const bool outside = (first == 0xED && byte(1) > 0x9F) || (first == 0xF4 && byte(1) > 0x8F);
  return overlong || outside ? 0 : bytes;
}

bool valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t bytes = sequence_bytes(text);
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

}  // namespace

bool valid_profile_path(std::string_view path) {
  if (path.size() < 2 || path.size() > kMaxPathBytes || path[0] != '/') return false;
  if (path.find('\0') != std::string_view::npos || !valid_utf8(path)) return false;
  for (size_t begin = 1; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view name = path.substr(begin, end - begin);
    if (name.empty() || name == "." || name == ".." || name.size() > kMaxNameBytes) return false;
    begin = end + 1;
  }
  return true;
}

}  // namespace dedup
