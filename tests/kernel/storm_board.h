// What the processes of the kill storm tell each other: a small shared file mapping. Atomics only.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "kernel/lazy_image.h"
#include "kernel/rig_door.h"

namespace dedup::test {

inline constexpr size_t kReaders = 16;

struct StormBoard {
  std::atomic<int32_t> worker_pid{0};
  std::atomic<uint32_t> workers_ready{0};  // doors that have begun to serve
  std::atomic<uint64_t> answered{0};
  std::atomic<uint64_t> denied{0};
  std::atomic<uint64_t> recovered{0};
  std::atomic<bool> readers_stop{false};
  struct Reader {
    std::atomic<uint64_t> reads{0};
    std::atomic<uint64_t> wrong{0};
    std::atomic<uint64_t> failed{0};
  };
  std::array<Reader, kReaders> readers;

  // The board of `directory`, made when it is not there; mapped until the process ends.
  static StormBoard& in(const std::string& directory) {
    const std::string path = directory + "/board";
    const UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd.valid() || ftruncate(fd.get(), sizeof(StormBoard)) != 0) std::abort();
    void* memory =
        mmap(nullptr, sizeof(StormBoard), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (memory == MAP_FAILED) std::abort();
    return *static_cast<StormBoard*>(memory);
  }
};

// The image of the storm: two segments in two fanotify groups, mostly holes for ever.
inline std::vector<LazyFile> storm_files() {
  return {{"one", 33, 2ull << 30}, {"two", 34, 1ull << 30}};
}

// The worker that is killed: the real link and door over a FakeFiller. Returns its exit status.
int run_storm_worker(const std::string& directory, RigDoor kind);

// A reader: verifies random ranges until the board says stop.
void run_storm_reader(const std::string& directory, size_t index);

}  // namespace dedup::test
