// The parts of the kernel's fanotify interface that the headers of Debian 12 (6.1) do not have:
// pre-access events with a byte range and denial with an errno (both 6.14). Numbers are kernel ABI.
// Pure data; any thread.
//
//   source  Linux 6.14+ include/uapi/linux/fanotify.h; names follow it
#pragma once

#include <linux/fanotify.h>

#include <cstddef>
#include <cstdint>

#ifndef FAN_PRE_ACCESS
#define FAN_PRE_ACCESS 0x00100000
#endif
#ifndef FAN_EVENT_INFO_TYPE_RANGE
#define FAN_EVENT_INFO_TYPE_RANGE 6
#endif
#ifndef FAN_ERRNO_SHIFT
#define FAN_ERRNO_SHIFT 24
#endif

static_assert(FAN_PRE_ACCESS == 0x00100000);
static_assert(FAN_EVENT_INFO_TYPE_RANGE == 6);
static_assert(FAN_ERRNO_SHIFT == 24);
static_assert(FAN_ALLOW == 1 && FAN_DENY == 2);
static_assert(FANOTIFY_METADATA_VERSION == 3 && sizeof(fanotify_event_metadata) == 24);

namespace dedup {

// struct fanotify_event_info_range under a name of ours, so that newer headers do not clash.
struct FanotifyRangeRecord {
  fanotify_event_info_header hdr;
  uint32_t pad;
  uint64_t offset;  // bytes into the watched file
  uint64_t count;   // bytes
};
static_assert(sizeof(FanotifyRangeRecord) == 24 && offsetof(FanotifyRangeRecord, offset) == 8);

// fanotify_response.response that denies with errno `number`, 0..255 (FAN_DENY_ERRNO).
constexpr uint32_t fanotify_deny(int number) {
  return static_cast<uint32_t>(FAN_DENY) | (static_cast<uint32_t>(number) & 0xffu)
                                               << FAN_ERRNO_SHIFT;
}

}  // namespace dedup
