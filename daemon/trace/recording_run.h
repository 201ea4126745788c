// The parts of a recording that recordings.cc and recording_runs.cc share. Loop thread, but where a
// function says that it runs on a worker.
#pragma once

#include "trace/recordings.h"

namespace dedup {

inline constexpr uint64_t kMaxPrepareNs =
    600'000'000'000;  // what is older belongs to an earlier start

// One container while it is recorded.
struct Recordings::Run {
  CgroupId cgroup = 0;
  std::string directory;  // of the cgroup; empty: it was gone already
  std::string container;
  // What it is recorded of; mount.device 0: an operator's, whatever it reads most. A copy: the
  // mount goes with the container.
  Mount mount;
  pid_t pid = 0;
  uint64_t start_ns = 0;
  uint64_t started_s = 0;
  std::vector<std::string> entrypoint;
  uint64_t touched_pages = 0;
  uint64_t changed_ns = 0;   // when touched_pages grew last
  bool by_operator = false;  // in the middle of its life: no start
  bool finishing = false;
  bool taken = false;  // its touches, out of the recorder
  OneShot<Result<std::string>> done;

  explicit Run(Ring& ring) : done(ring) {}
};

// A reader of a recorded mount, before and after a look at /proc.
struct Recordings::Found {
  FirstRead read;
  uint64_t since_ns = 0;  // the mount is recorded
  bool ended = false;     // it was recorded before
  bool busy = false;      // it is being recorded, of another mount
  std::string directory;
  bool starts = false;  // a container, and from now on recorded
  uint64_t start_ns = 0;
};

}  // namespace dedup
