// What a door costs: random 4 KiB reads of present data through it and of the same data as a plain
// file-backed EROFS device, EROFS pages cold and segment pages warm. Prints a line per round; not a
// test.
//   door_latency [--door DOOR]   fanotify
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
constexpr uint32_t kSegment = 5;

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

double at(const std::vector<int64_t>& sorted, size_t percent) {
  return double(sorted[sorted.size() * percent / 100]) / 1e3;
}

void write_all(const char* path, std::string_view text) {
  const UniqueFd fd(open(path, O_WRONLY | O_CLOEXEC));
  if (write(fd.get(), text.data(), text.size()) < 0) std::perror(path);
}

// Nothing in the page cache but the segment.
bool warm_segment_only(const DoorRig& rig) {
  sync();
  write_all("/proc/sys/vm/drop_caches", "1");
  return read_pattern(rig.image.segment_path(kSegment), kSegment, 0, kBytes) == Read::kRight;
}

std::vector<int64_t> measure_mount(DoorRig& rig) {
  rig.mount();
  if (!warm_segment_only(rig)) return {};
  auto times = measure(rig.path("data"));
  rig.mounted.reset();
  return times;
}

int run(RigDoor kind) {
  if (const auto usable = supported(kind); !usable.ok()) {
    std::printf("skipped: %s\n", usable.error().to_string().c_str());
    return 77;
  }
  DoorRig rig({{"data", kSegment, kBytes}}, kind);
  rig.all();
  if (read_pattern(rig.path("data"), kSegment, 0, kBytes) != Read::kRight) return 1;
  rig.mounted.reset();
  for (int round = 0; round < 3; ++round) {
    rig.complete.clear();
    rig.attach_all();
    const auto door = measure_mount(rig);
    rig.on_loop([&] { (void)rig.door->detach(kSegment); });
    rig.complete.insert(kSegment);
    const auto plain = measure_mount(rig);
    if (door.empty() || plain.empty()) return 1;
    std::printf("door=%s p50_us=%.1f p95_us=%.1f p99_us=%.1f plain_p50_us=%.1f plain_p95_us=%.1f\n",
                name_of(kind), at(door, 50), at(door, 95), at(door, 99), at(plain, 50),
                at(plain, 95));
  }
  return 0;
}

}  // namespace
}  // namespace dedup::test

int main(int argc, char** argv) {
  using namespace dedup::test;
  const auto kind = argc == 3 ? rig_door_named(argv[2]) : RigDoor::kFanotify;
  return kind ? run(*kind) : 2;
}
