// DoorProbe: one page of a fresh mount is read by a thread of its own, to see whether the read
// raises an event. The event is denied, so the page stays unread. Loop thread; alive until ended().
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "base/byte_range.h"
#include "base/result.h"
#include "io/cancel.h"
#include "io/ring.h"
#include "io/sync.h"

namespace dedup {

class DoorProbe : public std::enable_shared_from_this<DoorProbe> {
 public:
  DoorProbe(Ring& ring, std::string path, uint64_t file_offset, uint32_t segment,
            uint64_t segment_offset);
  ~DoorProbe();
  DoorProbe(const DoorProbe&) = delete;
  DoorProbe& operator=(const DoorProbe&) = delete;

  void start();
  // True when an event of our own process for `range` of `segment` may be the one expected: it may
  // be of another probe of the same page, but only who raised one fails to read. One failed read
  // raises two: readahead asks first, then the page itself.
  bool claims(uint32_t segment, ByteRange range);

  const OneShot<Result<void>>& verdict() const { return x_verdict; }
  auto wait_verdict() { return x_verdict.wait(); }
  auto wait_ended() { return x_ended.wait(); }

  // Ends the waiting, not the thread, when nothing happened for 5 s.
  static Task<void> expire(std::shared_ptr<DoorProbe> probe);

 private:
  void on_read(int status);  // 0 or errno

  Ring& x_ring;
  std::string x_path;
  uint64_t x_file_offset;
  uint32_t x_segment;
  uint64_t x_segment_offset;
  bool x_seen = false;
  std::thread x_thread;
  CancelSource x_timer;
  OneShot<Result<void>> x_verdict;
  OneShot<bool> x_ended;  // the thread is gone
};

}  // namespace dedup
