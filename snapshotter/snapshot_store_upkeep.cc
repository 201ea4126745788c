// The calls of SnapshotStore that conversion and sweeping make.
#include "snapshotter/snapshot_store.h"

namespace dedup {
namespace {

Result<std::vector<int64_t>> read_ids(Statement row) {
  std::vector<int64_t> ids;
  while (true) {
    TRY(more, row.step());
    if (!more) return ids;
    ids.push_back(row.integer(0));
  }
}

}  // namespace

Result<void> SnapshotStore::set_usage(int64_t id, SnapshotUsage usage) {
  TRY(transaction, x_database->begin());
  TRY(x_database->prepare("UPDATE snapshots SET usage_bytes = ?, usage_inodes = ? WHERE id = ?")
          .bind(usage.bytes, usage.inodes, id)
          .run());
  return transaction.commit();
}

Result<std::optional<Conversion>> SnapshotStore::next_conversion() {
  auto lock = x_database->lock();
  Statement row = x_database->prepare(
      "SELECT id, usage_bytes >= 0 FROM snapshots "
      "WHERE conversion = 1 AND kind = 3 AND layer = '' ORDER BY id LIMIT 1");
  TRY(found, row.step());
  if (!found) return std::optional<Conversion>();
  return std::optional(Conversion{row.integer(0), row.integer(1) != 0});
}

Result<bool> SnapshotStore::finish_conversion(int64_t id, const std::string& layer) {
  TRY(transaction, x_database->begin());
  TRY(x_database->prepare("UPDATE snapshots SET layer = ?, conversion = 0 WHERE id = ?")
          .bind(layer, id)
          .run());
  const bool exists = x_database->changes() > 0;
  TRY(transaction.commit());
  return exists;
}

Result<void> SnapshotStore::give_up_conversion(int64_t id) {
  TRY(transaction, x_database->begin());
  TRY(x_database->prepare("UPDATE snapshots SET conversion = 2 WHERE id = ?").bind(id).run());
  return transaction.commit();
}

Result<std::vector<int64_t>> SnapshotStore::take_unused_directories() {
  TRY(transaction, x_database->begin());
  TRY(ids, read_ids(x_database->prepare(
               "SELECT id FROM snapshots s WHERE directory = 1 AND kind = 3 AND layer <> '' AND "
               "NOT EXISTS (SELECT 1 FROM lowers WHERE directory_of = s.id)")));
  for (const int64_t id : ids) {
    TRY(x_database->prepare("UPDATE snapshots SET directory = 0 WHERE id = ?").bind(id).run());
  }
  TRY(transaction.commit());
  return ids;
}

Result<std::vector<int64_t>> SnapshotStore::directory_owners() {
  auto lock = x_database->lock();
  return read_ids(x_database->prepare("SELECT id FROM snapshots WHERE directory = 1"));
}

Result<bool> SnapshotStore::needs_holder(int64_t id, HolderUse use) {
  auto lock = x_database->lock();
  Statement row =
      x_database->prepare("SELECT 1 FROM snapshots WHERE id = ? AND (kind = 3) = ? LIMIT 1");
  return row.bind(id, use == HolderUse::kLayer ? 1 : 0).step();
}

}  // namespace dedup
