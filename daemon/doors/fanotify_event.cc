#include "doors/fanotify_event.h"

#include <cerrno>
#include <cstring>

#include "base/bytes.h"
#include "doors/fanotify_abi.h"

namespace dedup {
namespace {

template <typename T>
T copy_of(std::span<const std::byte> bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

std::optional<ByteRange> find_range(std::span<const std::byte> records) {
  while (records.size() >= sizeof(fanotify_event_info_header)) {
    const auto header = copy_of<fanotify_event_info_header>(records);
    if (header.len < sizeof(header) || header.len > records.size()) return std::nullopt;
    if (header.info_type == FAN_EVENT_INFO_TYPE_RANGE) {
      if (header.len < sizeof(FanotifyRangeRecord)) return std::nullopt;
      const auto record = copy_of<FanotifyRangeRecord>(records);
      if (!checked_add(record.offset, record.count)) {
        return ByteRange{record.offset, UINT64_MAX - record.offset};
      }
      return ByteRange{record.offset, record.count};
    }
    records = records.subspan(header.len);
  }
  return std::nullopt;
}

}  // namespace

Result<FanotifyEvent> parse_event(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(fanotify_event_metadata)) {
    return make_error(Errc::kCorruption, "fanotify event is shorter than its header");
  }
  const auto metadata = copy_of<fanotify_event_metadata>(bytes);
  if (metadata.vers != FANOTIFY_METADATA_VERSION) {
    return make_error(Errc::kCorruption,
                      "fanotify event of version " + std::to_string(metadata.vers));
  }
  if (metadata.metadata_len < sizeof(metadata) || metadata.metadata_len > metadata.event_len ||
      metadata.event_len > bytes.size()) {
    return make_error(Errc::kCorruption, "fanotify event with lengths that do not fit");
  }
  FanotifyEvent event;
  event.event_bytes = metadata.event_len;
  event.mask = metadata.mask;
  event.fd = metadata.fd;
  event.pid = metadata.pid;
  event.range =
      find_range(bytes.subspan(metadata.metadata_len, metadata.event_len - metadata.metadata_len));
  return event;
}

ByteRange wanted_range(const FanotifyEvent& event, uint64_t segment_bytes) {
  const ByteRange whole{0, segment_bytes};
  return event.range ? event.range->intersect(whole) : whole;
}

int deniable_errno(int number) {
  switch (number) {
    case EIO:
    case EPERM:
    case EBUSY:
    case ETXTBSY:
    case EAGAIN:
    case ENOSPC:
    case EDQUOT:
      return number;
    default:
      return EIO;
  }
}

}  // namespace dedup
