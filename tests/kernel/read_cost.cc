// What a door costs: random 4 KiB reads, and reads from beginning to end, of present data through
// it and of the same data as a plain file-backed EROFS device, EROFS pages cold and segment pages
// warm. Prints a line per round; not a test.
//   read_cost [--door DOOR]   fanotify
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "kernel/door_rig.h"
#include "kernel/random_reads.h"

namespace dedup::test {
namespace {

constexpr uint32_t kSegment = 5;

void write_all(const char* path, std::string_view text) {
  const UniqueFd fd(open(path, O_WRONLY | O_CLOEXEC));
  if (write(fd.get(), text.data(), text.size()) < 0) std::perror(path);
}

// Nothing in the page cache but the segment.
bool warm_segment_only(const DoorRig& rig) {
  sync();
  write_all("/proc/sys/vm/drop_caches", "1");
  return read_pattern(rig.image.segment_path(kSegment), kSegment, 0, kMeasuredBytes) ==
         Read::kRight;
}

double sequential_mib_per_s(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::vector<std::byte> buffer(1 << 20);
  const auto begin = std::chrono::steady_clock::now();
  uint64_t bytes = 0;
  for (ssize_t got = 0; (got = read(fd.get(), buffer.data(), buffer.size())) > 0;)
    bytes += static_cast<uint64_t>(got);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  return double(bytes >> 20) / took.count();
}

struct Measured {
  std::vector<int64_t> times;
  double sequential = 0;
};

Measured measure_mount(DoorRig& rig) {
  Measured measured;
  rig.mount();
  if (warm_segment_only(rig)) measured.times = time_random_reads(rig.path("data"));
  if (warm_segment_only(rig)) measured.sequential = sequential_mib_per_s(rig.path("data"));
  rig.mounted.reset();
  return measured;
}

void print(const char* name, const Measured& measured) {
  std::printf("%s p50_us=%.1f p95_us=%.1f p99_us=%.1f sequential_mib_s=%.0f  ", name,
              percentile_us(measured.times, 50), percentile_us(measured.times, 95),
              percentile_us(measured.times, 99), measured.sequential);
}

int run(RigDoor kind) {
  if (const auto usable = supported(kind); !usable.ok()) {
    std::printf("skipped: %s\n", usable.error().to_string().c_str());
    return 77;
  }
  DoorRig rig({{"data", kSegment, kMeasuredBytes}}, kind);
  rig.all();
  if (read_pattern(rig.path("data"), kSegment, 0, kMeasuredBytes) != Read::kRight) return 1;
  rig.mounted.reset();
  for (int round = 0; round < 3; ++round) {
    rig.complete.clear();
    rig.attach_all();
    const auto door = measure_mount(rig);
    rig.on_loop([&] { (void)rig.door->detach(kSegment); });
    rig.complete.insert(kSegment);
    const auto plain = measure_mount(rig);
    if (door.times.empty() || plain.times.empty()) return 1;
    print(name_of(kind), door);
    print("plain", plain);
    std::printf("\n");
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
