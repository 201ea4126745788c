// FanotifyDoor: serves FAN_PRE_ACCESS events (6.14+) of pool segments that an EROFS mount reads
// through. Owned by main, loop thread only. It is fed by the groups the keeper owns, so events
// outlive a worker.
//
// fanotify fails OPEN: without a group, or with a mark made after the mount, a reader gets zeros.
// Hence: attach() before the mount, probe() before the mount is published, an answer for every
// event on every path, errno whitelist.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/byte_range.h"
#include "base/log.h"
#include "base/priority.h"
#include "doors/kept_link.h"
#include "io/ring.h"

namespace dedup {

// What a door asks of the pool. Loop thread.
class SegmentFiller {
 public:
  virtual ~SegmentFiller() = default;
  // True when every byte of `range` is in the segment and verified. Constant time for short ranges,
  // no I/O.
  virtual bool present(uint32_t segment, ByteRange range) const = 0;
  // Makes it so. Bytes outside any slot (padding, beyond the end) count as present.
  virtual Task<Result<void>> ensure(uint32_t segment, ByteRange range, Priority priority) = 0;
};

struct DoorCounters {
  uint64_t answered = 0;   // events allowed
  uint64_t denied = 0;     // events answered with an errno
  uint64_t recovered = 0;  // events of a dead worker that this one answered
};

class FanotifyDoor {
 public:
  // Which kernel features are missing, or ok. Makes and closes a group of its own, marks a
  // temporary file in `directory`.
  static Result<void> supported(const std::string& directory);

  // link: groups and journal (kept_link.h). Does not read events yet.
  static Result<std::unique_ptr<FanotifyDoor>> open(Ring& ring, Log& log, SegmentFiller& filler,
                                                    KeptLink& link);
  virtual ~FanotifyDoor() = default;

  // Puts the pre-access mark on the segment file. `fd` was opened before any mark (KeptLink::keep
  // first). Idempotent.
  virtual Result<void> attach(uint32_t segment, int fd) = 0;
  // Removes the mark: the segment is complete, or no mount uses it. Events already pending are
  // still answered.
  virtual Result<void> detach(uint32_t segment) = 0;

  // Starts serving. Call once, after every segment that was marked under an earlier worker has been
  // attach()ed again: first occupies the fd numbers of events the dead worker had read, then reads
  // new events while those are settled.
  virtual void start() = 0;

  // Expects that reading one page of `path` (a file of a fresh mount) at `file_offset`, which lies
  // at `segment_offset` of `segment` and is missing, raises an event. The event is denied, so
  // nothing is fetched and nothing cached.
  //   errors  kUnsupported: no event came; the mount must not be published.
  virtual Task<Result<void>> probe(std::string path, uint64_t file_offset, uint32_t segment,
                                   uint64_t segment_offset) = 0;

  // Stops reading new events and waits until every event taken has been answered. Marks and groups
  // stay.
  virtual Task<void> stop() = 0;

  virtual const DoorCounters& counters() const = 0;
  virtual size_t attached() const = 0;
};

}  // namespace dedup
