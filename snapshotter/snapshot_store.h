// SnapshotStore: the metadata of all snapshots in one SQLite file, and the only place that decides
// what is legal: who may be whose parent, what may be committed or removed. Owned by main. Any
// thread; every call is one durable transaction.
//
// A snapshot is made in two steps, because the work between them may take minutes: reserve() takes
// its id and key and keeps its parent, publish_*() makes it visible. What a crash leaves reserved
// is dropped at the next open. Ids are never used twice.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pool/sqlite.h"
#include "snapshotter/mounts.h"
#include "snapshotter/snapshot.h"

namespace dedup {

struct Reservation {
  int64_t id = 0;
  std::vector<Lower> lowers;  // top first; pool runs without a path
};

struct StoredSnapshot {
  int64_t id = 0;
  SnapshotInfo info;
  std::string layer;                   // "" = directory
  std::optional<SnapshotUsage> usage;  // of a committed snapshot, once measured
};

// The directory of a committed snapshot that should become a pool layer.
struct Conversion {
  int64_t id = 0;
  bool measured = false;  // usage is known
};

class SnapshotStore {
 public:
  // Opens or creates the file. Errors: kUnsupported when a newer version wrote it.
  static Result<std::unique_ptr<SnapshotStore>> open(const std::string& path);

  // kind kCommitted reserves a remote snapshot, which has no directory.
  //   errors  kExists (key is taken), kNotFound (parent), kInvalid (parent is not committed).
  Result<Reservation> reserve(const NewSnapshot& snapshot);
  Result<void> publish(int64_t id, std::span<const Lower> lowers);
  Result<void> publish_layer(int64_t id, const std::string& layer);
  Result<void> abandon(int64_t id);

  // True when a committed snapshot stands for `target` on exactly this parent.
  Result<bool> has_target(const std::string& target, const std::string& parent);
  Result<StoredSnapshot> find(const std::string& key);
  Result<std::vector<SnapshotInfo>> list();
  // Resolved lowers, top first, of an active or view snapshot.
  Result<std::vector<Lower>> lowers(int64_t id);
  Result<void> set_lower_paths(int64_t id, std::span<const Lower> lowers);

  // `fields` empty: all labels are replaced; else "labels" or "labels.NAME". An empty value removes
  // a label.
  Result<SnapshotInfo> update(const std::string& key, const Labels& labels,
                              std::span<const std::string> fields);
  //   rebase_parent  "" or the parent the snapshot has.
  //   errors         kExists (name is taken), kNotFound, precondition (not active), kUnsupported
  //                  (another parent).
  Result<void> commit(const std::string& name, const std::string& key, const Labels& labels,
                      const std::string& rebase_parent);
  // The id it had. Errors: kNotFound, precondition (it has children).
  Result<int64_t> remove(const std::string& key);

  Result<void> set_usage(int64_t id, SnapshotUsage usage);
  // The oldest directory that is committed, not converted and not given up on.
  Result<std::optional<Conversion>> next_conversion();
  // False when the snapshot is gone.
  Result<bool> finish_conversion(int64_t id, const std::string& layer);
  // Not tried again before the next open.
  Result<void> give_up_conversion(int64_t id);
  // Converted snapshots whose directory no snapshot has among its lowers; they count as without a
  // directory from now on.
  Result<std::vector<int64_t>> take_unused_directories();
  // Snapshots that own a directory.
  Result<std::vector<int64_t>> directory_owners();
  enum class HolderUse : uint8_t { kLayer, kMounts };
  // Whether the snapshot still needs what its holder keeps.
  Result<bool> needs_holder(int64_t id, HolderUse use);

 private:
  explicit SnapshotStore(std::unique_ptr<Database> database) : x_database(std::move(database)) {}
  Result<void> create_schema();
  Result<std::optional<StoredSnapshot>> find_row(const std::string& key, bool hidden_too);
  Result<std::vector<Lower>> plan(int64_t parent);
  Result<void> insert_lowers(int64_t id, std::span<const Lower> lowers);

  std::unique_ptr<Database> x_database;
};

}  // namespace dedup
