// Recorder: what the containers of this node read of image mounts, recorded by the kernel
// (bpf/access.bpf.c). While no mount is recorded nothing is attached: the tracepoints are those of
// every cached read of the node, and a program that only says no still takes 100 ns there.
// Ends with the object and with the process: a recording does not survive its worker. Owned by
// main; blocking system calls of some milliseconds; one thread at a time, but for forget_mount,
// which any may call.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "trace/cgroups.h"
#include "trace/page_runs.h"

struct access;  // the skeleton
struct ring_buffer;

namespace dedup {

struct RecorderOptions {
  CgroupHierarchy hierarchy = node_hierarchy();
  // Areas of 256 KiB, about 100 bytes each, of all recordings together. What does not fit is
  // counted as dropped.
  uint32_t max_areas = 131072;
  // Use only what kernels before about 6.13 have.
  bool misses_only = false;
};

enum class CgroupScope : uint8_t {
  kNamed,  // readers in cgroups given to record_cgroup, or below them
  kEvery,  // the others, too, each by the cgroup it is in itself
};

// A cgroup that has read a recorded mount for the first time.
struct FirstRead {
  CgroupId cgroup = 0;
  uint32_t device = 0;    // of the mount
  pid_t pid = 0;          // that read
  uint64_t first_ns = 0;  // CLOCK_MONOTONIC
};

struct RecorderCounts {
  uint64_t events = 0;   // reads and faults that were looked at; each of any number of pages
  uint64_t areas = 0;    // first touches
  uint64_t dropped = 0;  // touches lost: the map was full, or the kernel skipped a program
};

class Recorder {
 public:
  // errors  kUnsupported: no BTF, no usable tracepoint; kDenied: BPF is forbidden
  static Result<std::unique_ptr<Recorder>> open(const RecorderOptions& options = {});
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // The EROFS file system a mount point or any directory in it belongs to. Returns its device, as
  // in PageRun. The kernel gives the number to another file system after the last user of this one
  // is gone: forget it before.
  //   errors  kInvalid: not EROFS
  Result<uint32_t> record_mount(const std::string& mountpoint, CgroupScope scope);
  void forget_mount(uint32_t device);
  // Detaches from the kernel when no mount is recorded any more; that takes it some milliseconds.
  //   forget_all  what was recorded is not wanted either
  void rest(bool forget_all = false);

  // From now on; directory: of the cgroup, in the hierarchy of the options.
  Result<CgroupId> record_cgroup(const std::string& directory);
  // A cgroup that is no container, though it reads: nothing more of it, nothing remembered. Those
  // below it are not meant.
  Result<void> ignore_cgroup(CgroupId cgroup);
  // Who has begun to read since the last call. first_reads_fd() can be polled for them.
  std::vector<FirstRead> take_first_reads();
  int first_reads_fd() const;
  // Cgroups with anything recorded.
  Result<std::vector<CgroupId>> seen() const;
  // How much each has touched up to now.
  Result<std::map<CgroupId, uint64_t>> touched_pages() const;
  // What was recorded of it up to now. Stays recorded.
  Result<Recording> recording(CgroupId cgroup) const;
  // Nothing more of it nor of those below it, unless record_cgroup says so; what was recorded is
  // gone.
  Result<void> end_cgroup(CgroupId cgroup);

  Result<RecorderCounts> counts() const;
  Sight sight() const { return x_sight; }
  // Whether its programs run now: while a mount is recorded, and some milliseconds longer.
  bool attached() const { return x_attached; }
  // For the operator: tracepoints this kernel lacks; empty when everything is seen.
  const std::vector<std::string>& missing_tracepoints() const { return x_missing; }
  // For measurements with bpf(BPF_ENABLE_STATS).
  std::vector<int> program_fds() const;

 private:
  Recorder() = default;
  Result<void> load(const RecorderOptions& options);
  Result<void> attach();
  Result<std::vector<SeenArea>> read_areas() const;
  Result<void> set_cgroup(CgroupId cgroup, uint8_t what);
  Result<void> remove_areas(std::optional<CgroupId> cgroup);  // nullopt: of all

  struct access* x_skeleton = nullptr;
  struct ring_buffer* x_readers = nullptr;
  std::vector<FirstRead> x_first_reads;
  // Never held while the kernel attaches or detaches: forget_mount must not wait for that.
  std::mutex x_mutex;  // of x_devices
  std::set<uint32_t> x_devices;
  std::atomic<bool> x_attached = false;
  CgroupHierarchy x_hierarchy = CgroupHierarchy::kV2;
  Sight x_sight = Sight::kTouches;
  std::vector<std::string> x_missing;
};

}  // namespace dedup
