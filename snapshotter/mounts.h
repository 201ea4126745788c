// From a chain of committed snapshots to what containerd mounts: the chain is cut into runs, one
// lowerdir each, and the lowerdirs become an overlay or a bind mount. Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "snapshotter/snapshot.h"

namespace dedup {

// One committed snapshot of a chain.
struct ChainLink {
  int64_t id = 0;
  std::string layer;  // digest of the pool layer that holds its files; "" = its own directory does
};

// One lowerdir: the directory of one snapshot, or consecutive pool layers merged into one EROFS
// mount.
struct Lower {
  int64_t directory_of = 0;         // snapshot id; 0 = pool layers
  std::vector<std::string> layers;  // bottom first
  bool keep_whiteouts = false;      // other lowerdirs lie below
  std::string path;                 // "" until resolved
  bool operator==(const Lower&) const = default;
};

// Lowerdirs of a chain given bottom first; the answer is top first, as overlayfs wants it.
std::vector<Lower> plan_lowers(std::span<const ChainLink> chain);

struct SnapshotPaths {
  std::string upper;
  std::string work;
};

// What containerd mounts for an active or view snapshot over resolved `lowers`, top first.
//   index_off  the kernel's overlayfs knows "index": it is turned off, because lowerdirs are shared
//              by many mounts.
//   errors     kInvalid: the options do not fit into the page mount(2) takes, even after containerd
//              has shortened the lowerdirs by their common folder.
Result<std::vector<Mount>> make_mounts(SnapshotKind kind, const SnapshotPaths& paths,
                                       std::span<const Lower> lowers, bool index_off);

}  // namespace dedup
