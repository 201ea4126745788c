// The on-demand protocol of /dev/cachefiles: what the kernel asks, and the command that answers an
// OPEN. Pure; any thread.
//
//   message  u32 message id | u32 opcode | u32 length | u32 object id | payload; host byte order
//   OPEN 0   u32 volume key bytes | u32 cookie key bytes | u32 fd | u32 flags | volume key with its
//            NUL | cookie key. The fd is in our table already, write-only and not close-on-exec.
//   CLOSE 1  no payload, no answer
//   READ 2   u64 offset | u64 length
//   source   Documentation/filesystems/caching/cachefiles.rst, <linux/cachefiles.h>; seen on the
//            wire with 6.1 and 6.12
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <variant>

#include "base/byte_range.h"
#include "base/result.h"

namespace dedup {

inline constexpr size_t kCachefilesMessageBytes = 1024;  // CACHEFILES_MSG_MAX_SIZE

struct CachefilesOpen {
  uint32_t message = 0;
  uint32_t object = 0;  // another one each time the same file is opened
  int fd = -1;
  std::string volume;  // without the NUL
  std::string cookie;
};
struct CachefilesClose {
  uint32_t object = 0;
};
struct CachefilesRead {
  uint32_t message = 0;
  uint32_t object = 0;
  ByteRange range;  // may reach beyond the end of the object
};
using CachefilesMessage = std::variant<CachefilesOpen, CachefilesClose, CachefilesRead>;

// What one read(2) brought.
//   errors  kInvalid: lengths that do not agree, a range that overflows, an unknown opcode
Result<CachefilesMessage> parse_cachefiles_message(std::span<const std::byte> bytes);

// The command that ends OPEN `message`. size: bytes of the object, or a negative errno.
std::string copen_command(uint32_t message, int64_t size);

}  // namespace dedup
