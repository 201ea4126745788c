// SnapshotServer: containerd.services.snapshots.v1 on a unix socket, in front of a Snapshotter. The
// only file that knows gRPC. Owned by main; calls run on gRPC's threads.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/log.h"
#include "base/result.h"
#include "snapshotter/snapshotter.h"

namespace dedup {

class SnapshotServer {
 public:
  // `snapshotter` and `log` are borrowed, `cleanup` is the Cleanup call.
  //   errors  kExists: another process answers on `address`.
  static Result<std::unique_ptr<SnapshotServer>> start(const std::string& address,
                                                       Snapshotter& snapshotter,
                                                       std::function<Result<void>()> cleanup,
                                                       Log& log);
  ~SnapshotServer();

  // Takes no new calls and waits for those in progress, at most `patience`. False when some were
  // still running then.
  bool drain(std::chrono::seconds patience);

 private:
  struct Grpc;
  SnapshotServer();

  std::unique_ptr<Grpc> x_grpc;
};

}  // namespace dedup
