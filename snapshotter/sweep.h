// Sweeper: gives back what no snapshot needs any more: directories of removed or converted
// snapshots, and what the daemon keeps for them. It compares instead of remembering, so nothing is
// lost when the daemon is down or this process is killed. Any thread; one sweep at a time.
#pragma once

#include <atomic>
#include <mutex>

#include "base/log.h"
#include "snapshotter/background.h"
#include "snapshotter/daemon_client.h"
#include "snapshotter/snapshot_directories.h"
#include "snapshotter/snapshot_store.h"

namespace dedup {

class Sweeper {
 public:
  // All borrowed; they outlive this.
  Sweeper(SnapshotStore& store, SnapshotDirectories& directories, const DaemonClient& daemon,
          Log& log)
      : x_store(store), x_directories(directories), x_daemon(daemon), x_log(log) {}

  // Both halves; the error is the first half's. A daemon that is away is no error.
  Result<void> sweep();
  // As a background job: tells when to come again.
  BackgroundThread::Pause run();

 private:
  Result<void> sweep_directories();
  // kUnavailable: to be tried again.
  Result<void> sweep_holders();

  SnapshotStore& x_store;
  SnapshotDirectories& x_directories;
  const DaemonClient& x_daemon;
  Log& x_log;
  std::mutex x_mutex;
  std::atomic<bool> x_holders_left = false;
};

}  // namespace dedup
