// What the door costs: random 4 KiB reads of present data, EROFS pages cold and segment pages warm,
// with the mark and without it. Prints one line; not a test.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <random>

#include "kernel/door_rig.h"

namespace dedup::test {
namespace {

constexpr uint64_t kBytes = 128 << 20;
constexpr uint64_t kPage = 4096;
constexpr size_t kSamples = 16384;

// Sorted nanoseconds.
std::vector<int64_t> measure(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM);
  std::vector<uint64_t> pages(kBytes / kPage);
  std::iota(pages.begin(), pages.end(), 0);
  std::shuffle(pages.begin(), pages.end(), std::mt19937(7));
  std::vector<int64_t> times;
  std::array<std::byte, kPage> page;
  for (size_t i = 0; i < kSamples; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    if (pread(fd.get(), page.data(), kPage, static_cast<off_t>(pages[i] * kPage)) != kPage)
      return {};
    times.push_back((std::chrono::steady_clock::now() - begin) / std::chrono::nanoseconds(1));
  }
  std::ranges::sort(times);
  return times;
}

int run() {
  const ScratchDirectory directory;
  if (const auto usable = FanotifyDoor::supported(directory.path()); !usable.ok()) {
    std::printf("skipped: %s\n", usable.error().to_string().c_str());
    return 77;
  }
  DoorRig rig({{"data", 5, kBytes}});
  rig.all();
  if (read_pattern(rig.path("data"), 5, 0, kBytes) != Read::kRight) return 1;
  for (int round = 0; round < 3; ++round) {
    rig.attach_all();
    const auto marked = measure(rig.path("data"));
    rig.on_loop([&] { (void)rig.door->detach(5); });
    const auto unmarked = measure(rig.path("data"));
    if (marked.empty() || unmarked.empty()) return 1;
    std::printf("p50_marked_us=%.1f p99_marked_us=%.1f p50_unmarked_us=%.1f p99_unmarked_us=%.1f\n",
                double(marked[kSamples / 2]) / 1e3, double(marked[kSamples * 99 / 100]) / 1e3,
                double(unmarked[kSamples / 2]) / 1e3, double(unmarked[kSamples * 99 / 100]) / 1e3);
  }
  return 0;
}

}  // namespace
}  // namespace dedup::test

int main() {
  return dedup::test::run();
}
