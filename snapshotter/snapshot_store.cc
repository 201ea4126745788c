#include "snapshotter/snapshot_store.h"

#include <ctime>

#include "snapshotter/snapshot_row.h"

namespace dedup {
namespace {

constexpr int64_t kSchemaVersion = 1;

// parent: id, 0 = none. ready: 0 while reserved. target: the label snapshot.ref, for the index.
// layer: '' = the files are in the snapshot's directory. directory: 1 while that exists.
// conversion: 0 = nothing to do, 1 = to be converted, 2 = given up. usage_bytes: -1 = not measured.
// lowers.position 0 is the top; directory_of and layers as in struct Lower.
constexpr const char* kSchema = R"sql(
CREATE TABLE IF NOT EXISTS snapshots(
  id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, parent INTEGER NOT NULL,
  kind INTEGER NOT NULL, ready INTEGER NOT NULL DEFAULT 0, target TEXT NOT NULL,
  labels TEXT NOT NULL, created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL,
  layer TEXT NOT NULL DEFAULT '', directory INTEGER NOT NULL,
  conversion INTEGER NOT NULL DEFAULT 0, usage_bytes INTEGER NOT NULL DEFAULT -1,
  usage_inodes INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS snapshots_parent ON snapshots(parent);
CREATE INDEX IF NOT EXISTS snapshots_target ON snapshots(target);
CREATE TABLE IF NOT EXISTS lowers(
  snapshot INTEGER NOT NULL REFERENCES snapshots(id) ON DELETE CASCADE, position INTEGER NOT NULL,
  directory_of INTEGER NOT NULL, layers TEXT NOT NULL, keep_whiteouts INTEGER NOT NULL,
  path TEXT NOT NULL, PRIMARY KEY(snapshot, position)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lowers_directory ON lowers(directory_of);
PRAGMA user_version = 1;
)sql";

#define DEDUP_SNAPSHOT_COLUMNS                                                              \
  "SELECT s.id, s.key, coalesce(p.key, ''), s.kind, s.created_ns, s.updated_ns, s.labels, " \
  "s.layer, s.usage_bytes, s.usage_inodes, s.ready "                                        \
  "FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent "

int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::string quoted(const std::string& key) {
  return "\"" + key + "\"";
}

StoredSnapshot read_row(const Statement& row) {
  StoredSnapshot stored;
  stored.id = row.integer(0);
  stored.info = {.name = row.text(1),
                 .parent = row.text(2),
                 .kind = static_cast<SnapshotKind>(row.integer(3)),
                 .created_ns = row.integer(4),
                 .updated_ns = row.integer(5),
                 .labels = labels_from_json(row.text(6))};
  stored.layer = row.text(7);
  if (row.integer(8) >= 0) stored.usage = SnapshotUsage{row.integer(8), row.integer(9)};
  return stored;
}

std::string target_of(const Labels& labels) {
  const auto label = labels.find(std::string(kTargetLabel));
  return label == labels.end() ? "" : label->second;
}

}  // namespace

Result<std::unique_ptr<SnapshotStore>> SnapshotStore::open(const std::string& path) {
  TRY(database, Database::open(path));
  std::unique_ptr<SnapshotStore> store(new SnapshotStore(std::move(database)));
  TRY(store->create_schema());
  return store;
}

Result<void> SnapshotStore::create_schema() {
  auto lock = x_database->lock();
  {
    Statement version = x_database->prepare("PRAGMA user_version");
    TRY(version.step());
    if (version.integer(0) > kSchemaVersion) {
      return make_error(Errc::kUnsupported, "snapshots.db was written by a newer version (schema " +
                                                std::to_string(version.integer(0)) + ")");
    }
  }
  TRY(x_database->execute(kSchema));
  TRY(x_database->execute("DELETE FROM snapshots WHERE ready = 0"));
  return x_database->execute("UPDATE snapshots SET conversion = 1 WHERE conversion = 2");
}

Result<std::optional<StoredSnapshot>> SnapshotStore::find_row(const std::string& key,
                                                              bool hidden_too) {
  Statement row = x_database->prepare(DEDUP_SNAPSHOT_COLUMNS "WHERE s.key = ?");
  TRY(found, row.bind(key).step());
  if (!found || (row.integer(10) == 0 && !hidden_too)) return std::optional<StoredSnapshot>();
  return std::optional(read_row(row));
}

Result<std::vector<Lower>> SnapshotStore::plan(int64_t parent) {
  Statement row = x_database->prepare(
      "WITH RECURSIVE chain(id, parent, layer, depth) AS ("
      "SELECT id, parent, layer, 0 FROM snapshots WHERE id = ? UNION ALL "
      "SELECT s.id, s.parent, s.layer, depth + 1 FROM chain c JOIN snapshots s ON s.id = c.parent) "
      "SELECT id, layer FROM chain ORDER BY depth DESC");
  row.bind(parent);
  std::vector<ChainLink> chain;
  while (true) {
    TRY(more, row.step());
    if (!more) break;
    chain.push_back({row.integer(0), row.text(1)});
  }
  return plan_lowers(chain);
}

Result<void> SnapshotStore::insert_lowers(int64_t id, std::span<const Lower> lowers) {
  int64_t position = 0;
  for (const Lower& lower : lowers) {
    TRY(x_database->prepare("INSERT OR REPLACE INTO lowers VALUES(?, ?, ?, ?, ?, ?)")
            .bind(id, position++, lower.directory_of, join_layers(lower.layers),
                  lower.keep_whiteouts ? 1 : 0, lower.path)
            .run());
  }
  return {};
}

Result<Reservation> SnapshotStore::reserve(const NewSnapshot& snapshot) {
  TRY(transaction, x_database->begin());
  int64_t parent_id = 0;
  if (!snapshot.parent.empty()) {
    TRY(parent, find_row(snapshot.parent, false));
    if (!parent) {
      return make_error(Errc::kNotFound, "parent snapshot " + quoted(snapshot.parent));
    }
    if (parent->info.kind != SnapshotKind::kCommitted) {
      return make_error(Errc::kInvalid,
                        "parent snapshot " + quoted(snapshot.parent) + " is not committed");
    }
    parent_id = parent->id;
  }
  TRY(taken, find_row(snapshot.key, true));
  if (taken) return make_error(Errc::kExists, "snapshot " + quoted(snapshot.key));
  const Labels labels = without_empty(snapshot.labels);
  const bool remote = snapshot.kind == SnapshotKind::kCommitted;
  const int64_t now = now_ns();
  TRY(x_database
          ->prepare("INSERT INTO snapshots(key, parent, kind, target, labels, created_ns, "
                    "updated_ns, directory) VALUES(?, ?, ?, ?, ?, ?, ?, ?)")
          .bind(snapshot.key, parent_id, static_cast<int>(snapshot.kind), target_of(labels),
                labels_to_json(labels), now, now, remote ? 0 : 1)
          .run());
  Reservation reservation{.id = x_database->last_insert_id(), .lowers = {}};
  if (!remote) {
    TRY(lowers, plan(parent_id));
    reservation.lowers = std::move(lowers);
    // From here on the directories among them are in use.
    TRY(insert_lowers(reservation.id, reservation.lowers));
  }
  TRY(transaction.commit());
  return reservation;
}

Result<void> SnapshotStore::publish(int64_t id, std::span<const Lower> lowers) {
  TRY(transaction, x_database->begin());
  TRY(insert_lowers(id, lowers));
  TRY(x_database->prepare("UPDATE snapshots SET ready = 1 WHERE id = ?").bind(id).run());
  return transaction.commit();
}

Result<void> SnapshotStore::publish_layer(int64_t id, const std::string& layer) {
  TRY(transaction, x_database->begin());
  // A layer that is fetched on demand takes no space of its own that could be counted.
  TRY(x_database->prepare("UPDATE snapshots SET ready = 1, layer = ?, usage_bytes = 0 WHERE id = ?")
          .bind(layer, id)
          .run());
  return transaction.commit();
}

Result<void> SnapshotStore::abandon(int64_t id) {
  TRY(transaction, x_database->begin());
  TRY(x_database->prepare("DELETE FROM snapshots WHERE id = ? AND ready = 0").bind(id).run());
  return transaction.commit();
}

Result<bool> SnapshotStore::has_target(const std::string& target, const std::string& parent) {
  auto lock = x_database->lock();
  Statement row = x_database->prepare(
      "SELECT 1 FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent "
      "WHERE s.target = ? AND s.kind = 3 AND s.ready = 1 AND coalesce(p.key, '') = ?");
  return row.bind(target, parent).step();
}

Result<StoredSnapshot> SnapshotStore::find(const std::string& key) {
  auto lock = x_database->lock();
  TRY(row, find_row(key, false));
  if (!row) return make_error(Errc::kNotFound, "snapshot " + quoted(key));
  return std::move(*row);
}

Result<std::vector<SnapshotInfo>> SnapshotStore::list() {
  auto lock = x_database->lock();
  Statement row = x_database->prepare(DEDUP_SNAPSHOT_COLUMNS "WHERE s.ready = 1 ORDER BY s.id");
  std::vector<SnapshotInfo> infos;
  while (true) {
    TRY(more, row.step());
    if (!more) return infos;
    infos.push_back(read_row(row).info);
  }
}

Result<std::vector<Lower>> SnapshotStore::lowers(int64_t id) {
  auto lock = x_database->lock();
  Statement row = x_database->prepare(
      "SELECT directory_of, layers, keep_whiteouts, path FROM lowers WHERE snapshot = ? "
      "ORDER BY position");
  row.bind(id);
  std::vector<Lower> lowers;
  while (true) {
    TRY(more, row.step());
    if (!more) return lowers;
    lowers.push_back({.directory_of = row.integer(0),
                      .layers = split_layers(row.text(1)),
                      .keep_whiteouts = row.integer(2) != 0,
                      .path = row.text(3)});
  }
}

Result<void> SnapshotStore::set_lower_paths(int64_t id, std::span<const Lower> lowers) {
  TRY(transaction, x_database->begin());
  Statement row = x_database->prepare("SELECT 1 FROM snapshots WHERE id = ? AND kind <> 3");
  TRY(exists, row.bind(id).step());
  if (!exists) return make_error(Errc::kNotFound, "the snapshot was removed meanwhile");
  TRY(insert_lowers(id, lowers));
  return transaction.commit();
}

Result<SnapshotInfo> SnapshotStore::update(const std::string& key, const Labels& labels,
                                           std::span<const std::string> fields) {
  TRY(transaction, x_database->begin());
  TRY(row, find_row(key, false));
  if (!row) return make_error(Errc::kNotFound, "snapshot " + quoted(key));
  TRY(updated, updated_labels(std::move(row->info.labels), labels, fields));
  row->info.labels = std::move(updated);
  row->info.updated_ns = now_ns();
  TRY(x_database
          ->prepare("UPDATE snapshots SET labels = ?, target = ?, updated_ns = ? WHERE id = ?")
          .bind(labels_to_json(row->info.labels), target_of(row->info.labels), row->info.updated_ns,
                row->id)
          .run());
  TRY(transaction.commit());
  return std::move(row->info);
}

Result<void> SnapshotStore::commit(const std::string& name, const std::string& key,
                                   const Labels& labels, const std::string& rebase_parent) {
  TRY(transaction, x_database->begin());
  TRY(taken, find_row(name, true));
  if (taken) return make_error(Errc::kExists, "committed snapshot " + quoted(name));
  TRY(row, find_row(key, false));
  if (!row) return make_error(Errc::kNotFound, "active snapshot " + quoted(key));
  if (row->info.kind != SnapshotKind::kActive) {
    return precondition_error("snapshot " + quoted(key) + " is not active");
  }
  if (!rebase_parent.empty() && rebase_parent != row->info.parent) {
    return make_error(Errc::kUnsupported, "snapshot " + quoted(key) +
                                              " cannot be committed onto another parent than it "
                                              "was prepared on");
  }
  const Labels kept = without_empty(labels);
  const int64_t now = now_ns();
  TRY(x_database
          ->prepare("UPDATE snapshots SET key = ?, kind = 3, labels = ?, target = ?, "
                    "created_ns = ?, updated_ns = ?, conversion = 1 WHERE id = ?")
          .bind(name, labels_to_json(kept), target_of(kept), now, now, row->id)
          .run());
  TRY(x_database->prepare("DELETE FROM lowers WHERE snapshot = ?").bind(row->id).run());
  return transaction.commit();
}

Result<int64_t> SnapshotStore::remove(const std::string& key) {
  TRY(transaction, x_database->begin());
  TRY(row, find_row(key, false));
  if (!row) return make_error(Errc::kNotFound, "snapshot " + quoted(key));
  {
    Statement child = x_database->prepare("SELECT 1 FROM snapshots WHERE parent = ? LIMIT 1");
    TRY(has_child, child.bind(row->id).step());
    if (has_child) {
      return precondition_error("cannot remove snapshot " + quoted(key) + ": it has children");
    }
  }
  TRY(x_database->prepare("DELETE FROM snapshots WHERE id = ?").bind(row->id).run());
  TRY(transaction.commit());
  return row->id;
}

}  // namespace dedup
