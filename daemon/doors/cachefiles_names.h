// How the kernel's cachefiles names the file of a cookie, and what it expects there, so that a file
// can be in its place before it is opened the first time. Pure; any thread.
//
//   path     DIRECTORY/cache/I<volume key>/@<fan-out>/D<cookie key>; keys of other characters than
//            printable ASCII would be encoded: not made here
//   fan-out  two hex digits, the low byte of the cookie's hash
//   xattr    user.CacheFiles.cache. Of a cookie: u64 object bytes, u64 0 (big-endian), u8 type 1,
//            u8 content 0; compared with the size that copen gives, and another one throws the
//            file away. Of a volume's directory: u32 0; without it the volume cannot be used.
//   source   seen with Linux 6.1 and 6.12, fs/cachefiles and fs/fscache since 5.17; the hash is
//            written to disk by the kernel, so it is meant to stay
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace dedup {

// Longer keys: the kernel has a BUG() for cookie keys of 253 bytes (6.1.192).
inline constexpr size_t kMaxCookieKeyBytes = 200;

inline constexpr const char* kCookieXattr = "user.CacheFiles.cache";
std::array<std::byte, 18> cookie_xattr(uint64_t object_bytes);
inline constexpr std::array<std::byte, 4> kVolumeXattr{};

// Volume key of EROFS mounts with domain_id=`domain`.
std::string erofs_volume_key(std::string_view domain);

uint32_t cookie_hash(std::string_view volume_key, std::string_view cookie_key);

// Directory of the volume below the cache's directory.
std::string volume_directory(std::string_view volume_key);
// Path of the cookie's file below the cache's directory.
//   errors  kInvalid: a key that is empty, too long, or would be encoded
Result<std::string> cookie_path(std::string_view volume_key, std::string_view cookie_key);

}  // namespace dedup
