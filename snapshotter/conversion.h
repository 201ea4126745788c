// Conversion: committed directories become pool layers, one at a time, oldest first. The directory
// itself stays until no snapshot is mounted over it (sweep.h). Run by one background thread.
#pragma once

#include "base/log.h"
#include "snapshotter/background.h"
#include "snapshotter/daemon_client.h"
#include "snapshotter/snapshot_directories.h"
#include "snapshotter/snapshot_store.h"

namespace dedup {

class Converter {
 public:
  // All borrowed; they outlive the thread that calls run().
  Converter(SnapshotStore& store, SnapshotDirectories& directories, const DaemonClient& daemon,
            Log& log)
      : x_store(store), x_directories(directories), x_daemon(daemon), x_log(log) {}

  // Converts the next directory. A daemon that is away or a full disk is tried again later, a
  // directory it refuses is not.
  BackgroundThread::Pause run();

 private:
  Result<void> convert(const Conversion& conversion);

  SnapshotStore& x_store;
  SnapshotDirectories& x_directories;
  const DaemonClient& x_daemon;
  Log& x_log;
  bool x_waiting = false;  // the last attempt failed and was logged
};

}  // namespace dedup
