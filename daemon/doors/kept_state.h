// What survives a worker: the keeper's kernel fds and one shared mapping (memfd) that worker and
// keeper both see. Written by whoever the comment at the field names; read by the next worker. No
// pointers inside: it is mapped at any address.
//
//   layout   KeptHeader | KeptSegment[kMaxKeptSegments] |
//            JournalSlot[group_count][kSlotsPerGroup] | FuseSlot[kFuseSlots]
//   source   kernel-facing rules: fanotify(7), Linux 6.14+ FAN_PRE_ACCESS; fuse(4). The read(2)
//            buffer of a fanotify group, and of /dev/fuse, IS the journal: a record written after
//            read() would have a hole in which a request is lost and its reader stuck.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace dedup {

inline constexpr uint32_t kGroupCount = 16;  // blocked readers of one group do not slow another
inline constexpr uint32_t kSlotsPerGroup = 2048;  // events read and not yet answered
inline constexpr uint32_t kMaxKeptSegments = 8192;
inline constexpr uint32_t kFuseSlots = 4096;  // FUSE requests read and not yet answered

// Device fds are kept in the same table, under numbers that no segment has.
inline constexpr uint32_t kFirstKeptDevice = 0xFFFF0000;
inline constexpr uint32_t kKeptFuse = kFirstKeptDevice;            // /dev/fuse of the mount
inline constexpr uint32_t kKeptCachefiles = kFirstKeptDevice + 1;  // /dev/cachefiles, bound
inline constexpr uint32_t kKeptFuseRoot = kFirstKeptDevice + 2;    // root of the FUSE mount

struct KeptHeader {
  uint64_t magic = 0;
  uint32_t version = 0;
  uint32_t group_count = 0;
  std::atomic<uint32_t> worker_starts{0};  // keeper: 1 for the first worker
  std::atomic<int32_t> keeper_pid{0};      // keeper
  int32_t group_fd[kGroupCount] = {};      // keeper: fanotify groups, -1 when the kernel has none
  std::atomic<uint32_t> door{0};           // worker: the DoorKind the first one chose; 0: none yet
  uint32_t reserved[31] = {};
};

// An fd of a segment file opened before its first mark: reads and writes through it raise no
// events.
struct KeptSegment {
  std::atomic<uint32_t> segment{0};  // keeper; 0 = free entry
  std::atomic<int32_t> fd{-1};       // keeper; number is valid in every worker, which inherits it
};

// One event between read(2) and its answer. All zero = free. The worker's order is: read into
// `event`, set `segment`, make the range present, write the answer, zero the slot, close the event
// fd.
struct alignas(64) JournalSlot {
  std::array<std::byte, 56>
      event{};  // fanotify_event_metadata and range record, as the kernel wrote them
  std::atomic<uint32_t> segment{0};  // 0: the worker died before it knew
  uint32_t reserved = 0;
};
static_assert(sizeof(JournalSlot) == 64);

// One FUSE request between read(2) and its answer, as the kernel wrote it; what does not fit is not
// needed. Length 0 = free. A READ has 80 bytes, the longest that matters, INIT, 104.
struct alignas(64) FuseSlot {
  std::array<std::byte, 128> request{};
};
static_assert(sizeof(FuseSlot) == 128);

}  // namespace dedup
