// The keeper: the small parent process that owns every kernel fd a worker must not lose (fanotify
// groups, journal memfd, segment fds, the lock of the root) and starts, watches and restarts the
// worker. After start it allocates nothing, is mlocked, runs with oom_score_adj -1000 where
// allowed, and uses async-signal-safe calls only. A witness (witness_process.h) and, under systemd,
// the service manager's fd store hold the same fds, so its own death loses nothing either: the next
// dedupd takes them over (root_claim.h).
//
//   stop     SIGTERM/SIGINT: forwarded to the worker, which unmounts what is idle and closes
//   segments that are still in use
//            against readers (see Worker stop in main.cc). If the worker dies in a stop or exits
//            nonzero, the keeper truncates every kept segment to 0 before it exits: a short segment
//            gives readers EIO, a lost group would give them zeros.
//   witness  one that dies is started again.
//   restart  a worker that dies otherwise is restarted at once; after 3 deaths within 10 s each
//            further start waits 100 ms. Blocked readers wait; nothing is lost.
//   other    a worker exit status 78 (EX_CONFIG) or 69 (EX_UNAVAILABLE) during its first start is
//            passed on: the keeper exits with it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "keeper/root_claim.h"

namespace dedup {

struct KeeperOptions {
  std::vector<std::string> worker_arguments;  // argv of the worker, [0] = path of the program
  RootClaim claim;                            // its lock is inherited by the worker
  std::string guard_directory;                // of the root; "": there is never a guard
  bool want_fanotify = true;
  uint32_t longest_restart_wait_ms =
      100;                           // readers are blocked meanwhile: ten starts a second harm less
  uint32_t longest_stop_ms = 60000;  // then the worker is killed, which counts as dying in a stop
};

// Runs until the worker has stopped; returns the exit status for main.
int run_keeper(KeeperOptions options, Log& log);

}  // namespace dedup
