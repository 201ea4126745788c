// A SegmentFiller that makes bytes from the pattern of lazy_image.h instead of fetching them, late
// or never as the test asks. Loop thread, but for the knobs and counters, which are atomic.
#pragma once

#include <atomic>
#include <map>
#include <vector>

#include "base/unique_fd.h"
#include "doors/door.h"
#include "io/ring.h"
#include "kernel/lazy_image.h"

namespace dedup::test {

class FakeFiller final : public SegmentFiller {
 public:
  FakeFiller(Ring& ring, const std::vector<LazyFile>& files);

  // fd: borrowed, raises no events. Blocks that hold data already count as missing.
  void add(uint32_t segment, int fd);
  // From the next add() on blocks are written as the cachefiles door asks for it: with O_DIRECT.
  void write_whole_blocks() { x_direct = true; }

  bool present(uint32_t segment, ByteRange range) override;
  Task<Result<void>> ensure(uint32_t segment, ByteRange range, Priority priority) override;

  std::atomic<uint32_t> delay_us{0};
  std::atomic<uint32_t> slow_segment{0};  // delay only this one; 0: all
  std::atomic<bool> fail{false};
  std::atomic<uint64_t> ensured{0};
  std::atomic<uint64_t> most_at_once{0};

 private:
  struct State {
    const LazyFile* file = nullptr;
    int fd = -1;
    UniqueFd direct;           // the same file; fd is its number then
    std::vector<bool> blocks;  // ceil(bytes / 4096), true = present
  };
  Result<void> fill_block(State& state, uint64_t block);

  Ring& x_ring;
  std::map<uint32_t, State> x_segments;
  uint64_t x_running = 0;
  bool x_direct = false;
};

}  // namespace dedup::test
