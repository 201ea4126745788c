// Reads one fanotify event out of the bytes read(2) returned or a dead worker left in the journal,
// and decides which part of the segment it asks for. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/byte_range.h"
#include "base/result.h"

namespace dedup {

struct FanotifyEvent {
  uint32_t event_bytes = 0;
  uint64_t mask = 0;
  int fd = -1;  // number in the table of the process that read the event; < 0: nothing to answer
  int pid = 0;
  std::optional<ByteRange> range;  // none: the kernel gave no usable range; length may be 0
};

// The first event in `bytes`. Records of unknown type are skipped; a damaged record list gives no
// range, so that the event can still be answered.
//   errors  kCorruption: not an event (short, wrong version, lengths that do not fit).
Result<FanotifyEvent> parse_event(std::span<const std::byte> bytes);

// Bytes of a segment of `segment_bytes` that must be present before the event may be allowed. No
// range means everything: allowing too much shows zeros.
ByteRange wanted_range(const FanotifyEvent& event, uint64_t segment_bytes);

// `number` when the kernel accepts it in a denial, else EIO: any other makes the write fail and
// leaves the reader blocked for ever.
int deniable_errno(int number);

}  // namespace dedup
