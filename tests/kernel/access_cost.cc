// What the recorder costs: the same reads without it, with it but of a cgroup that is not recorded,
// and recorded, in turns; then how many events a second it takes, and what the kernel says its
// programs take. Compares processor time, which other load of the machine changes least. Prints a
// table; not a test.
//   access_cost [--rounds N]   21
#include <bpf/bpf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>

#include "kernel/access_rig.h"

namespace dedup::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kBytes = 64 << 20;
constexpr uint64_t kPages = kBytes / kPageBytes;
const std::string kFile = "data";

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::vector<uint64_t> shuffled_pages() {
  std::vector<uint64_t> pages(kPages);
  std::iota(pages.begin(), pages.end(), 0);
  std::shuffle(pages.begin(), pages.end(), std::mt19937(7));
  return pages;
}

// `bytes` of each page.
bool read_each_page(const RecordedImage& image, int passes, size_t bytes) {
  static const std::vector<uint64_t> pages = shuffled_pages();
  const UniqueFd fd(open(image.path(kFile).c_str(), O_RDONLY | O_CLOEXEC));
  std::array<std::byte, kPageBytes> page;
  for (int pass = 0; pass < passes; ++pass) {
    for (const uint64_t at : pages) {
      if (pread(fd.get(), page.data(), bytes, static_cast<off_t>(at * kPageBytes)) !=
          static_cast<ssize_t>(bytes))
        return false;
    }
  }
  return true;
}

bool read_pages(const RecordedImage& image, int passes) {
  return read_each_page(image, passes, kPageBytes);
}

bool read_through(const RecordedImage& image, int passes) {
  const UniqueFd fd(open(image.path(kFile).c_str(), O_RDONLY | O_CLOEXEC));
  std::vector<std::byte> buffer(128 << 10);
  for (int pass = 0; pass < passes; ++pass) {
    lseek(fd.get(), 0, SEEK_SET);
    while (read(fd.get(), buffer.data(), buffer.size()) > 0) continue;
  }
  return true;
}

struct Workload {
  const char* name;
  bool cold;
  bool (*run)(const RecordedImage& image, int passes);
  int passes;
};
constexpr Workload kWorkloads[] = {
    {"cached, 4 KiB random", false, read_pages, 4},
    {"cached, 128 KiB sequential", false, read_through, 6},
    {"cold, 128 KiB sequential", true, read_through, 1},
    {"cold, 4 KiB random", true, read_pages, 1},
};

enum Mode : uint8_t { kOff, kFiltered, kRecorded, kModes };

struct Setup {
  RecordedImage image{{{kFile, kBytes}}};
  TestCgroup cgroup{node_hierarchy(), "cost"};
  TestCgroup other{node_hierarchy(), "other"};
};

double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return double(time.tv_sec) + double(time.tv_nsec) / 1e9;
}

// Processor seconds of the workload in a process in the cgroup.
double timed(const Setup& setup, const Workload& workload) {
  auto* seconds = static_cast<double*>(
      mmap(nullptr, sizeof(double), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (workload.cold) setup.image.drop_cache();
  const bool ok = setup.cgroup.run([&] {
    const double begin = cpu_seconds();
    const bool done = workload.run(setup.image, workload.passes);
    *seconds = cpu_seconds() - begin;
    return done;
  });
  const double result = ok ? *seconds : 0;
  munmap(seconds, sizeof(double));
  return result;
}

double timed_in(const Setup& setup, const Workload& workload, Mode mode) {
  auto recorder = Recorder::open();
  if (!recorder.ok()) return 0;
  if (mode == kOff) {  // opened all the same: caches are as after the other two
    recorder->reset();
    return timed(setup, workload);
  }
  if (!(*recorder)->record_mount(setup.image.mountpoint(), CgroupScope::kNamed).ok()) return 0;
  const TestCgroup& recorded = mode == kRecorded ? setup.cgroup : setup.other;
  if (!(*recorder)->record_cgroup(recorded.path()).ok()) return 0;
  return timed(setup, workload);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void compare(const Setup& setup, const Workload& workload, int rounds) {
  timed(setup, workload);  // warm
  std::array<std::vector<double>, kModes> seconds;
  for (int round = 0; round < rounds; ++round) {
    for (int turn = 0; turn < kModes; ++turn) {
      const auto mode = static_cast<Mode>((turn + round) % kModes);
      seconds[mode].push_back(timed_in(setup, workload, mode));
    }
  }
  // Each round is compared with itself: neighbours in time share the load of the machine.
  std::array<std::vector<double>, kModes> ratios;
  for (size_t round = 0; round < seconds[kOff].size(); ++round) {
    for (const Mode mode : {kFiltered, kRecorded})
      ratios[mode].push_back(seconds[mode][round] / seconds[kOff][round]);
  }
  const double megabytes = double(kBytes) * workload.passes / 1e6;
  std::printf("%-28s off %6.0f MB per CPU second   other cgroup %+6.2f %%   recorded %+6.2f %%\n",
              workload.name, megabytes / median(seconds[kOff]),
              (median(ratios[kFiltered]) - 1) * 100, (median(ratios[kRecorded]) - 1) * 100);
}

void print_run_times(const Recorder& recorder) {
  for (const int fd : recorder.program_fds()) {
    bpf_prog_info info{};
    uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd, &info, &length) != 0 || info.run_cnt == 0) continue;
    std::printf("%-28s %llu runs, %.0f ns each\n", info.name,
                static_cast<unsigned long long>(info.run_cnt),
                double(info.run_time_ns) / double(info.run_cnt));
  }
}

// As many readers as processors, a byte of each page again and again.
void storm(const Setup& setup) {
  const auto recorder = Recorder::open();
  if (!recorder.ok()) return;
  (void)(*recorder)->record_mount(setup.image.mountpoint(), CgroupScope::kNamed);
  const auto id = (*recorder)->record_cgroup(setup.cgroup.path());
  const auto readers = sysconf(_SC_NPROCESSORS_ONLN);
  const auto begin = Clock::now();
  setup.cgroup.run([&] {
    for (long reader = 0; reader < readers; ++reader) {
      if (fork() == 0) _exit(read_each_page(setup.image, 200, 1) ? 0 : 1);
    }
    int status = 0;
    while (wait(&status) > 0) continue;
    return true;
  });
  const double took = seconds_since(begin);
  const auto counts = (*recorder)->counts();
  const auto recording = (*recorder)->recording(*id);
  std::printf(
      "%ld readers: %llu events in %.2f s = %.0f a second, %llu dropped, %zu of %llu pages seen\n",
      readers, static_cast<unsigned long long>(counts->events), took, double(counts->events) / took,
      static_cast<unsigned long long>(counts->dropped),
      pages_of(recording->touched, setup.image.inode(kFile)).size(),
      static_cast<unsigned long long>(kPages));
}

void run_times(const Setup& setup) {
  const UniqueFd statistics(bpf_enable_stats(BPF_STATS_RUN_TIME));
  const auto recorder = Recorder::open();
  if (!statistics.valid() || !recorder.ok()) return;
  (void)(*recorder)->record_mount(setup.image.mountpoint(), CgroupScope::kNamed);
  (void)(*recorder)->record_cgroup(setup.cgroup.path());
  for (const Workload& workload : kWorkloads) timed(setup, workload);
  std::vector<uint64_t> pages(kPages / 16);
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = i * 16;
  setup.cgroup.run(
      [&] { return touch_mapped(setup.image.path(kFile), pages, Readahead::kNormal); });
  print_run_times(**recorder);
}

int run(int argc, char** argv) {
  const int rounds = argc == 3 && std::strcmp(argv[1], "--rounds") == 0 ? std::atoi(argv[2]) : 21;
  const Setup setup;
  std::string missing = setup.image.missing();
  if (!setup.cgroup.valid()) missing = "no writable cgroup hierarchy";
  // Gone again at once: it would be measured along.
  if (const auto recorder = Recorder::open(); !recorder.ok())
    missing = recorder.error().to_string();
  if (!missing.empty()) {
    std::printf("cannot run here: %s\n", missing.c_str());
    return 77;
  }
  for (const Workload& workload : kWorkloads) compare(setup, workload, rounds);
  storm(setup);
  run_times(setup);
  return 0;
}

}  // namespace
}  // namespace dedup::test

int main(int argc, char** argv) {
  return dedup::test::run(argc, argv);
}
