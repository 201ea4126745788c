// Snapshotter: the ten operations of containerd's snapshot service, without the wire. Plain
// snapshots need nothing but --root; the daemon is asked for remote layers and for the mounts of
// pool layers. Owned by main. Any thread; calls that wait for the daemon hold no lock.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/log.h"
#include "snapshotter/daemon_client.h"
#include "snapshotter/filter.h"
#include "snapshotter/single_flight.h"
#include "snapshotter/snapshot_directories.h"
#include "snapshotter/snapshot_store.h"

namespace dedup {

// Names under which the daemon keeps things for a snapshot: the layer of a committed one, the
// mounts of an active or view one. They differ because a snapshot's id outlives its commit.
std::string layer_holder(int64_t id);
std::string mounts_holder(int64_t id);

class Snapshotter {
 public:
  // All borrowed; main outlives this. The callbacks tell that there is a directory to convert and
  // that something became unused.
  struct Parts {
    SnapshotStore& store;
    SnapshotDirectories& directories;
    DaemonClient& daemon;
    Log& log;
    std::function<void()> on_committed;
    std::function<void()> on_unused;
  };
  explicit Snapshotter(Parts parts);

  // An active snapshot, or, when the labels name a remote layer, kExists after a committed snapshot
  // with exactly this target and parent is there. When the daemon refuses the layer, the answer is
  // an ordinary writable snapshot: containerd then fetches and unpacks the layer itself.
  Result<std::vector<Mount>> prepare(const std::string& key, const std::string& parent,
                                     const Labels& labels);
  Result<std::vector<Mount>> view(const std::string& key, const std::string& parent,
                                  const Labels& labels);
  // The same answer as when the snapshot was made.
  Result<std::vector<Mount>> mounts(const std::string& key);
  Result<void> commit(const std::string& name, const std::string& key, const Labels& labels,
                      const std::string& rebase_parent);
  Result<void> remove(const std::string& key);
  Result<SnapshotInfo> stat(const std::string& key);
  Result<SnapshotInfo> update(const std::string& key, const Labels& labels,
                              std::span<const std::string> fields);
  Result<std::vector<SnapshotInfo>> list(std::span<const SnapshotFilter> filters);
  Result<SnapshotUsage> usage(const std::string& key);

 private:
  Result<std::vector<Mount>> create(const NewSnapshot& snapshot);
  Result<void> add_remote(const RemoteLayer& layer, const std::string& parent,
                          const Labels& labels);
  Result<Reservation> reserve_target(const RemoteLayer& layer, const std::string& parent,
                                     const Labels& labels);
  Result<void> resolve(int64_t id, std::vector<Lower>& lowers);
  Result<std::vector<Mount>> mounts_over(int64_t id, SnapshotKind kind,
                                         std::span<const Lower> lowers) const;
  void drop(int64_t id);

  Parts x_parts;
  bool x_index_off;
  SingleFlight x_targets;
};

}  // namespace dedup
