// SnapshotDirectories: the folders below --root. ROOT/snapshots/ID/fs holds a snapshot's files,
// work is overlayfs's own; ROOT/removed is where folders wait for their deletion. Owned by main.
// Any thread. Errors are never kExists or kNotFound, which mean something else to containerd.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "snapshotter/snapshot.h"

namespace dedup {

class SnapshotDirectories {
 public:
  // Makes ROOT and its folders where they are missing.
  static Result<void> create_root(const std::string& root);

  explicit SnapshotDirectories(std::string root) : x_root(std::move(root)) {}

  std::string fs(int64_t id) const { return folder(id) + "/fs"; }
  std::string work(int64_t id) const { return folder(id) + "/work"; }

  // fs, and work for an active snapshot. fs becomes the root of the mounted tree, so it takes
  // owner and mode of `parent_root`, the topmost lowerdir ("" = none: root, 0755).
  Result<void> create(int64_t id, SnapshotKind kind, const std::string& parent_root);
  // Blocks and inodes below fs, every hard-linked inode once.
  Result<SnapshotUsage> usage(int64_t id) const;

  // Takes the snapshot's folder away at once; its files go with the next empty_removed().
  Result<void> discard(int64_t id);
  // discard() of every folder of an id that is not in `owners`.
  Result<void> discard_others(std::span<const int64_t> owners);
  Result<void> empty_removed();

 private:
  std::string folder(int64_t id) const { return x_root + "/snapshots/" + std::to_string(id); }
  Result<void> discard_folder(const std::string& name);

  std::string x_root;
  std::atomic<uint64_t> x_discarded = 0;
};

}  // namespace dedup
