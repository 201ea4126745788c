// What the door costs: random 4 KiB reads of present data, EROFS pages cold and segment pages warm,
// with the mark and without it, with 64 readers that wait for another segment, and with the guard
// armed. Prints a line per round and the medians; not a test.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "doors/fanotify_door.h"
#include "doors/guard.h"
#include "doors/guard_holder.h"
#include "kernel/door_rig.h"
#include "kernel/random_reads.h"

namespace dedup::test {
namespace {

constexpr uint32_t kSegment = 5;
constexpr uint32_t kHeldSegment = 6;
constexpr int kBlockedReaders = 64;
constexpr int kRounds = 5;

double p50_us(const std::vector<int64_t>& sorted) {
  return percentile_us(sorted, 50);
}
double p99_us(const std::vector<int64_t>& sorted) {
  return percentile_us(sorted, 99);
}

// Children that each wait for a missing page of `path`, until the end of this object.
class Blocked {
 public:
  Blocked(DoorRig& rig, const std::string& path, int count) {
    const uint64_t before = rig.filler->ensured;
    for (int i = 0; i < count; ++i) {
      const pid_t child = fork();
      if (child == 0) {
        (void)read_pattern(path, kHeldSegment, uint64_t(i) << 20, 4096);
        _exit(0);
      }
      x_children.push_back(child);
    }
    while (rig.filler->ensured < before + uint64_t(count)) usleep(1000);
  }
  ~Blocked() {
    for (const pid_t child : x_children) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
  }
  Blocked(const Blocked&) = delete;
  Blocked& operator=(const Blocked&) = delete;

 private:
  std::vector<pid_t> x_children;
};

// detach() has made the link forget it. Opened while it has no mark.
Result<void> attach_again(DoorRig& rig) {
  TRY(fd, rig.image.open_segment(kSegment));
  Result<void> outcome;
  rig.on_loop(
      [&] { outcome = rig.door->attach(kSegment, fd.get(), rig.image.segment_path(kSegment)); });
  return outcome;
}

int run() {
  const ScratchDirectory directory;
  if (const auto usable = FanotifyDoor::supported(directory.path()); !usable.ok()) {
    std::printf("skipped: %s\n", usable.error().to_string().c_str());
    return 77;
  }
  DoorRig rig({{"data", kSegment, kMeasuredBytes}, {"held", kHeldSegment, kBlockedReaders << 20}});
  rig.all();
  const std::string data = rig.path("data");
  if (read_pattern(data, kSegment, 0, kMeasuredBytes) != Read::kRight) return 1;
  rig.filler->slow_segment = kHeldSegment;
  rig.filler->delay_us = 3600u * 1000 * 1000;
  std::vector<double> costs;
  std::vector<double> ratios;
  for (int round = 0; round < kRounds; ++round) {
    if (!attach_again(rig).ok()) return 1;
    const auto marked = time_random_reads(data);
    std::vector<int64_t> crowded;
    {
      const Blocked blocked(rig, rig.path("held"), kBlockedReaders);
      crowded = time_random_reads(data);
    }
    rig.on_loop([&] { (void)rig.door->detach(kSegment); });
    const auto unmarked = time_random_reads(data);
    const auto cached = time_random_reads(data, Pages::kAsTheyAre);
    std::vector<int64_t> guarded;
    std::vector<int64_t> guarded_cached;
    if (auto guard = Guard::open(guard_directory(directory.path()), rig.link->header(), rig.log);
        guard.ok()) {
      if (!(*guard)->arm(rig.path("")).ok()) return 1;
      guarded = time_random_reads(data);
      guarded_cached = time_random_reads(data, Pages::kAsTheyAre);
      (*guard)->remove();
    }
    if (marked.empty() || unmarked.empty() || crowded.empty()) return 1;
    std::printf(
        "unmarked p50=%.1f p99=%.1f us  marked p50=%.1f p99=%.1f us  %d blocked elsewhere p50=%.1f "
        "p99=%.1f us  guarded, unmarked p50=%.1f us  cached p50=%.2f us, "
        "guarded %.2f us\n",
        p50_us(unmarked), p99_us(unmarked), p50_us(marked), p99_us(marked), kBlockedReaders,
        p50_us(crowded), p99_us(crowded), guarded.empty() ? 0 : p50_us(guarded), p50_us(cached),
        guarded.empty() ? 0 : p50_us(guarded_cached));
    costs.push_back(p50_us(marked) - p50_us(unmarked));
    ratios.push_back(p50_us(crowded) / p50_us(marked));
  }
  std::ranges::sort(costs);
  std::ranges::sort(ratios);
  std::printf(
      "median: an event costs %.1f us; %d blocked readers of another segment: factor %.2f\n",
      costs[kRounds / 2], kBlockedReaders, ratios[kRounds / 2]);
  // Not through ~DoorRig(): the filler still sleeps for the readers that were killed.
  rig.mounted.reset();
  std::filesystem::remove_all(rig.scratch.path());
  std::filesystem::remove_all(directory.path());
  std::fflush(stdout);
  std::_Exit(0);
}

}  // namespace
}  // namespace dedup::test

int main() {
  return dedup::test::run();
}
