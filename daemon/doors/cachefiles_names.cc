#include "doors/cachefiles_names.h"

#include <algorithm>
#include <bit>
#include <cstdio>

#include "base/bytes.h"

namespace dedup {
namespace {

constexpr uint32_t kGoldenRatio = 0x61C88647;

constexpr uint32_t spread(uint32_t value) {
  return value * kGoldenRatio;
}

// The key's little-endian 32-bit words, the last padded with zeros, mixed into two registers: xor,
// rotate and add in turn, a multiplication by 9 each round, then both folded into one.
uint32_t hash_key(uint32_t salt, std::string_view key) {
  uint32_t x = 0;
  uint32_t y = salt;
  for (size_t at = 0; at < key.size(); at += 4) {
    std::array<std::byte, 4> word{};
    std::ranges::copy(as_bytes(key.substr(at, 4)), word.begin());
    x ^= load_le<uint32_t>(word);
    y ^= x;
    x = std::rotl(x, 7) + y;
    y = std::rotl(y, 20) * 9;
  }
  return spread(y ^ spread(x));
}

bool goes_unencoded(std::string_view key) {
  return std::ranges::all_of(key, [](char c) { return c > ' ' && c < 0x7F && c != '/'; });
}

}  // namespace

std::array<std::byte, 18> cookie_xattr(uint64_t object_bytes) {
  std::array<std::byte, 18> value{};
  for (size_t i = 0; i < 8; ++i) value[i] = static_cast<std::byte>(object_bytes >> (56 - 8 * i));
  value[16] = std::byte{1};
  return value;
}

std::string erofs_volume_key(std::string_view domain) {
  return "erofs," + std::string(domain);
}

uint32_t cookie_hash(std::string_view volume_key, std::string_view cookie_key) {
  // A volume's key is hashed with its length before it and a NUL behind it.
  std::string volume(1, static_cast<char>(volume_key.size()));
  volume.append(volume_key).push_back('\0');
  return hash_key(hash_key(0, volume), cookie_key);
}

std::string volume_directory(std::string_view volume_key) {
  return "cache/I" + std::string(volume_key);
}

Result<std::string> cookie_path(std::string_view volume_key, std::string_view cookie_key) {
  for (const std::string_view key : {volume_key, cookie_key}) {
    if (key.empty() || key.size() > kMaxCookieKeyBytes || !goes_unencoded(key)) {
      return make_error(Errc::kInvalid, "key of a cachefiles cookie: " + std::string(key));
    }
  }
  char fan_out[8];
  std::snprintf(fan_out, sizeof(fan_out), "/@%02x/D", cookie_hash(volume_key, cookie_key) & 0xFF);
  return volume_directory(volume_key) + fan_out + std::string(cookie_key);
}

}  // namespace dedup
