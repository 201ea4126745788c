// A Snapshotter with a store and folders of its own, and a fake daemon it may reach.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "snapshotter/snapshotter.h"
#include "unit/snapshotter/fake_daemon.h"
#include "unit/snapshotter/temp_dir.h"

namespace dedup {

struct SnapshotterHarness {
  SnapshotterHarness() {
    if (!SnapshotDirectories::create_root(dir.path()).ok()) std::abort();
    auto opened = SnapshotStore::open(dir / "snapshots.db");
    if (!opened.ok()) std::abort();
    store = std::move(*opened);
    ::mkdir((dir / "m").c_str(), 0755);
    snapshotter.emplace(Snapshotter::Parts{.store = *store,
                                           .directories = directories,
                                           .daemon = client,
                                           .log = log,
                                           .on_committed = [] {},
                                           .on_unused = [] {}});
  }
  void start_daemon() { daemon.emplace(dir / "s", dir / "m"); }

  static std::string digest(char fill) { return "sha256:" + std::string(64, fill); }
  static Labels remote_labels(const std::string& target, char layer) {
    return {{std::string(kTargetLabel), target},
            {"containerd.io/snapshot/cri.image-ref", "host/name:tag"},
            {"containerd.io/snapshot/cri.layer-digest", digest(layer)}};
  }

  TempDir dir;
  UniqueFd null{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  Log log{null.get()};
  std::unique_ptr<SnapshotStore> store;
  SnapshotDirectories directories{dir.path()};
  DaemonClient client{dir / "s"};
  std::optional<Snapshotter> snapshotter;
  std::optional<FakeDaemon> daemon;
};

}  // namespace dedup
