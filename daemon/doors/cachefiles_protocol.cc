#include "doors/cachefiles_protocol.h"

#include <linux/cachefiles.h>

#include "base/bytes.h"

namespace dedup {
namespace {

constexpr size_t kHeaderBytes = 16;
constexpr size_t kOpenBytes = 16;  // before the keys
constexpr size_t kReadBytes = 16;

static_assert(sizeof(cachefiles_msg) == kHeaderBytes && sizeof(cachefiles_open) == kOpenBytes &&
              sizeof(cachefiles_read) == kReadBytes);
static_assert(kCachefilesMessageBytes == CACHEFILES_MSG_MAX_SIZE);

Error invalid(const char* what) {
  return make_error(Errc::kInvalid, std::string("message of /dev/cachefiles: ") + what);
}

Result<CachefilesMessage> parse_open(uint32_t message, uint32_t object,
                                     std::span<const std::byte> payload) {
  if (payload.size() < kOpenBytes) return invalid("OPEN is too short");
  const uint64_t volume_bytes = load_le<uint32_t>(payload);
  const uint64_t cookie_bytes = load_le<uint32_t>(payload.subspan(4));
  const auto fd = static_cast<int32_t>(load_le<uint32_t>(payload.subspan(8)));
  const auto keys = payload.subspan(kOpenBytes);
  if (volume_bytes + cookie_bytes != keys.size()) return invalid("keys of OPEN have other lengths");
  const auto volume = keys.first(volume_bytes);
  if (volume.empty() || volume.back() != std::byte{0}) return invalid("volume key without its NUL");
  if (fd < 0) return invalid("OPEN without an fd");
  return CachefilesMessage(CachefilesOpen{message, object, fd,
                                          std::string(as_text(volume.first(volume_bytes - 1))),
                                          std::string(as_text(keys.subspan(volume_bytes)))});
}

Result<CachefilesMessage> parse_read(uint32_t message, uint32_t object,
                                     std::span<const std::byte> payload) {
  if (payload.size() != kReadBytes) return invalid("READ has another length");
  const ByteRange range{load_le<uint64_t>(payload), load_le<uint64_t>(payload.subspan(8))};
  if (!checked_add(range.offset, range.length)) return invalid("the range of READ overflows");
  return CachefilesMessage(CachefilesRead{message, object, range});
}

}  // namespace

Result<CachefilesMessage> parse_cachefiles_message(std::span<const std::byte> bytes) {
  if (bytes.size() < kHeaderBytes) return invalid("shorter than its header");
  const auto message = load_le<uint32_t>(bytes);
  const auto opcode = load_le<uint32_t>(bytes.subspan(4));
  const auto length = load_le<uint32_t>(bytes.subspan(8));
  const auto object = load_le<uint32_t>(bytes.subspan(12));
  if (length != bytes.size()) return invalid("the length field is wrong");
  const auto payload = bytes.subspan(kHeaderBytes);
  switch (opcode) {
    case CACHEFILES_OP_OPEN:
      return parse_open(message, object, payload);
    case CACHEFILES_OP_CLOSE:
      if (!payload.empty()) return invalid("CLOSE with a payload");
      return CachefilesMessage(CachefilesClose{object});
    case CACHEFILES_OP_READ:
      return parse_read(message, object, payload);
    default:
      return invalid("unknown opcode");
  }
}

std::string copen_command(uint32_t message, int64_t size) {
  return "copen " + std::to_string(message) + "," + std::to_string(size);
}

}  // namespace dedup
