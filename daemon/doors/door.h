// Door: the way in which a kernel asks us for missing bytes of pool segments. One per daemon,
// chosen at its start (choose_door.h), owned by main. Loop thread, but for mount(), which blocks
// and which workers call.
//
// The order every door relies on: attach() the segments, mount(), probe(), and only then publish
// the mount; detach() when no superblock reads the segment any more. After a start: attach() what
// earlier mounts still use, then start().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/byte_range.h"
#include "base/priority.h"
#include "base/result.h"
#include "io/task.h"

namespace dedup {

// What a door asks of the pool. Loop thread.
class SegmentFiller {
 public:
  virtual ~SegmentFiller() = default;
  // A reader wants `range`: true when every byte of it is in the segment and verified. Constant
  // time for short ranges, no I/O.
  virtual bool present(uint32_t segment, ByteRange range) = 0;
  // Makes it so. Bytes outside any slot (padding, beyond the end) count as present.
  virtual Task<Result<void>> ensure(uint32_t segment, ByteRange range, Priority priority) = 0;
};

struct DoorCounters {
  uint64_t answered = 0;   // requests of the kernel that were served
  uint64_t denied = 0;     // requests answered with an error
  uint64_t recovered = 0;  // requests of a dead worker that this one answered
};

struct DoorSegment {
  uint32_t id = 0;
  std::string path;       // of the data file
  bool complete = false;  // every byte is present: may be read without the door
};

struct DoorMount {
  std::string name;                   // of the image: [0-9a-f-], at most 64 bytes
  std::string image;                  // path of the metadata image, complete on disk
  std::vector<DoorSegment> segments;  // in device-slot order
  std::string mountpoint;             // an existing directory
  bool directio = false;  // EROFS reads segments with O_DIRECT, where the door knows that
};

class Door {
 public:
  virtual ~Door() = default;
  virtual const char* name() const = 0;

  // What readers get when nothing holds the door any more: true: EIO, and the mounts are dead even
  // when a new daemon comes; false: holes as zeros.
  virtual bool fails_closed() const = 0;
  // Complete segments, and the shared hole, must be attached, too.
  virtual bool serves_complete() const = 0;

  // Requests for the segment will be served.
  //   fd     of the data file; opened before any attach(), borrowed during the call
  //   path   of the data file
  // Idempotent.
  virtual Result<void> attach(uint32_t segment, int fd, const std::string& path) = 0;
  // The segment is complete, or no mount uses it. Requests already taken are still answered.
  virtual Result<void> detach(uint32_t segment) = 0;

  // Starts serving. Call once, after attach() of every segment that mounts of earlier workers use.
  virtual void start() = 0;

  // Mounts the image read-only. Blocks until the kernel has read from it: never on the loop thread.
  //   errors  kUnsupported: this kernel cannot; else with the kernel's own message.
  virtual Result<void> mount(const DoorMount& mount) = 0;

  // Shows that reading one page of `path` (a file of a fresh mount) at `file_offset`, which lies at
  // `segment_offset` of `segment` and is missing, reaches this door. Nothing is fetched. A door
  // that fails closed has nothing to show.
  //   errors  kUnsupported: it does not; the mount must not be published.
  virtual Task<Result<void>> probe(std::string path, uint64_t file_offset, uint32_t segment,
                                   uint64_t segment_offset) = 0;

  // Takes no new requests and waits until every one taken has been answered.
  virtual Task<void> stop() = 0;

  virtual const DoorCounters& counters() const = 0;
  virtual size_t attached() const = 0;
};

}  // namespace dedup
