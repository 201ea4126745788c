// WitnessProcess: the second holder of everything the keeper holds. It shares the keeper's fd table
// (clone(2), CLONE_FILES), so whatever the keeper opens, keeps or drops is held by it at once and
// under the same number, and it does nothing at all. When the keeper dies, the table stays: readers
// of missing bytes wait instead of reading zeros, until the next keeper takes the fds out of it
// (root_claim.h) and ends it. In a session of its own, memory locked, no signal reaches it but
// SIGKILL. The keeper's only thread; starting allocates nothing.
#pragma once

#include <sys/types.h>

#include "doors/kept_state.h"

namespace dedup {

class WitnessProcess {
 public:
  // header: outlives this object; the witness enters itself there.
  explicit WitnessProcess(KeptHeader& header) : x_header(header) {}
  ~WitnessProcess() { end(); }
  WitnessProcess(const WitnessProcess&) = delete;
  WitnessProcess& operator=(const WitnessProcess&) = delete;

  // False when the kernel refused. Returns once the witness has entered itself.
  bool start();
  bool running() const { return x_pid > 0; }
  pid_t pid() const { return x_pid; }
  // True once, when it has died.
  bool reap();
  void end();

 private:
  [[noreturn]] void be_witness() const;

  KeptHeader& x_header;
  pid_t x_pid = -1;
};

}  // namespace dedup
