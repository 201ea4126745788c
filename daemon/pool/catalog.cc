#include "pool/catalog.h"

namespace dedup {
namespace {

constexpr char kSchema[] = R"(
CREATE TABLE IF NOT EXISTS segments(
  id INTEGER PRIMARY KEY, blob BLOB NOT NULL, blob_bytes INTEGER NOT NULL, data_bytes INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS chunks(
  id INTEGER PRIMARY KEY, digest BLOB NOT NULL, segment INTEGER NOT NULL REFERENCES segments(id),
  offset INTEGER NOT NULL, size INTEGER NOT NULL, ref_count INTEGER NOT NULL, UNIQUE(digest, size));
CREATE TABLE IF NOT EXISTS dead_slots(segment INTEGER NOT NULL, offset INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS chunks_by_segment ON chunks(segment);
CREATE INDEX IF NOT EXISTS chunks_unused ON chunks(ref_count) WHERE ref_count = 0;
CREATE TABLE IF NOT EXISTS layers(
  id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, diff_id BLOB NOT NULL, format TEXT NOT NULL,
  blob_bytes INTEGER NOT NULL, data_bytes INTEGER NOT NULL, segment INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS layer_chunks(
  layer INTEGER NOT NULL REFERENCES layers(id), chunk INTEGER NOT NULL REFERENCES chunks(id), uses INTEGER NOT NULL,
  PRIMARY KEY(layer, chunk)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS layer_chunks_by_chunk ON layer_chunks(chunk);
)";

constexpr char kLayerColumns[] =
    "SELECT digest, diff_id, format, blob_bytes, data_bytes, segment FROM layers";

LayerRecord layer_row(const Statement& row) {
  return {row.digest(0),
          row.digest(1),
          row.text(2),
          static_cast<uint64_t>(row.integer(3)),
          static_cast<uint64_t>(row.integer(4)),
          static_cast<SegmentId>(row.integer(5))};
}

Slot slot_row(const Statement& row) {
  return {static_cast<SegmentId>(row.integer(0)), static_cast<uint64_t>(row.integer(1))};
}

}  // namespace

Result<std::unique_ptr<Catalog>> Catalog::open(const std::string& path) {
  std::unique_ptr<Catalog> catalog(new Catalog);
  TRY(database, Database::open(path));
  catalog->x_database = std::move(database);
  TRY(catalog->x_database->execute(kSchema));
  auto held = catalog->x_database->lock();
  auto row = catalog->x_database->prepare("SELECT COALESCE(MAX(id), 0) FROM segments");
  TRY(row.step());
  catalog->x_next_segment = static_cast<SegmentId>(row.integer(0)) + 1;
  return catalog;
}

SegmentId Catalog::next_segment() {
  return x_next_segment++;
}

Result<std::vector<SegmentId>> Catalog::segments() {
  auto held = x_database->lock();
  auto rows = x_database->prepare("SELECT id FROM segments ORDER BY id");
  std::vector<SegmentId> ids;
  for (;;) {
    TRY(more, rows.step());
    if (!more) return ids;
    ids.push_back(static_cast<SegmentId>(rows.integer(0)));
  }
}

Result<std::optional<LayerRecord>> Catalog::layer(Digest digest) {
  auto held = x_database->lock();
  auto row = x_database->prepare(
      "SELECT digest, diff_id, format, blob_bytes, data_bytes, segment FROM layers WHERE digest = "
      "?");
  TRY(found, row.bind(digest).step());
  if (!found) return std::optional<LayerRecord>();
  return std::optional(layer_row(row));
}

Result<std::vector<LayerRecord>> Catalog::layers() {
  auto held = x_database->lock();
  auto rows = x_database->prepare(kLayerColumns);
  std::vector<LayerRecord> layers;
  for (;;) {
    TRY(more, rows.step());
    if (!more) return layers;
    layers.push_back(layer_row(rows));
  }
}

Result<std::optional<Slot>> Catalog::find_chunk(Digest digest, uint64_t bytes) {
  auto held = x_database->lock();
  auto row =
      x_database->prepare("SELECT segment, offset FROM chunks WHERE digest = ? AND size = ?");
  TRY(found, row.bind(digest, bytes).step());
  if (!found) return std::optional<Slot>();
  return std::optional(slot_row(row));
}

Result<std::vector<Catalog::PlacedChunk>> Catalog::chunks_in(SegmentId segment) {
  auto held = x_database->lock();
  auto rows = x_database->prepare(
      "SELECT digest, offset, size FROM chunks WHERE segment = ? ORDER BY offset");
  rows.bind(segment);
  std::vector<PlacedChunk> chunks;
  for (;;) {
    TRY(more, rows.step());
    if (!more) return chunks;
    chunks.push_back({rows.digest(0), static_cast<uint64_t>(rows.integer(1)),
                      static_cast<uint64_t>(rows.integer(2))});
  }
}

Result<void> Catalog::reference_chunks(int64_t layer_id, std::span<const ChunkUse> chunks) {
  auto last = x_database->prepare("SELECT COALESCE(MAX(id), 0) FROM chunks");
  TRY(last.step());
  const int64_t last_id = last.integer(0);
  for (const ChunkUse& chunk : chunks) {
    // No RETURNING: it builds a table for its rows each time, which costs as much as the insertion.
    auto insert = x_database->prepare(
        "INSERT INTO chunks(digest, segment, offset, size, ref_count) VALUES(?, ?, ?, ?, ?) "
        "ON CONFLICT(digest, size) DO NOTHING");
    TRY(insert.bind(chunk.digest, chunk.slot.segment, chunk.slot.offset, chunk.bytes, chunk.uses)
            .run());
    if (x_database->changes() == 0) TRY(reference_known(layer_id, chunk));
  }
  // The new ones all at once: their ids lie above those there were, and nobody else uses them yet.
  auto link = x_database->prepare(
      "INSERT INTO layer_chunks(layer, chunk, uses) SELECT ?, id, ref_count FROM chunks WHERE id > "
      "?");
  return link.bind(layer_id, last_id).run();
}

Result<void> Catalog::reference_known(int64_t layer_id, const ChunkUse& chunk) {
  auto row = x_database->prepare("SELECT id FROM chunks WHERE digest = ? AND size = ?");
  TRY(row.bind(chunk.digest, chunk.bytes).step());
  const int64_t id = row.integer(0);
  auto add = x_database->prepare("UPDATE chunks SET ref_count = ref_count + ? WHERE id = ?");
  TRY(add.bind(chunk.uses, id).run());
  auto link = x_database->prepare("INSERT INTO layer_chunks(layer, chunk, uses) VALUES(?, ?, ?)");
  return link.bind(layer_id, id, chunk.uses).run();
}

Result<int64_t> Catalog::insert_layer(const LayerRecord& layer) {
  auto insert = x_database->prepare(
      "INSERT INTO layers(digest, diff_id, format, blob_bytes, data_bytes, segment) VALUES(?, ?, "
      "?, ?, ?, ?)");
  TRY(insert
          .bind(layer.digest, layer.diff_id, layer.format, layer.blob_bytes, layer.data_bytes,
                layer.segment)
          .run());
  return x_database->last_insert_id();
}

Result<void> Catalog::insert_segment(const SegmentHeader& header) {
  auto insert = x_database->prepare(
      "INSERT INTO segments(id, blob, blob_bytes, data_bytes) VALUES(?, ?, ?, ?)");
  return insert.bind(header.id, header.blob, header.blob_bytes, header.data_bytes).run();
}

Result<void> Catalog::remove_layer(Digest digest) {
  TRY(transaction, x_database->begin());
  auto find = x_database->prepare("SELECT id FROM layers WHERE digest = ?");
  TRY(found, find.bind(digest).step());
  if (!found) return {};
  const int64_t id = find.integer(0);
  auto release = x_database->prepare(
      "UPDATE chunks SET ref_count = ref_count - (SELECT uses FROM layer_chunks WHERE layer = ?1 "
      "AND chunk = chunks.id) "
      "WHERE id IN (SELECT chunk FROM layer_chunks WHERE layer = ?1)");
  TRY(release.bind(id).run());
  auto bury = x_database->prepare(
      "INSERT INTO dead_slots SELECT segment, offset, size FROM chunks "
      "WHERE ref_count = 0 AND id IN (SELECT chunk FROM layer_chunks WHERE layer = ?)");
  TRY(bury.bind(id).run());
  TRY(x_database->prepare("DELETE FROM layer_chunks WHERE layer = ?").bind(id).run());
  TRY(x_database->prepare("DELETE FROM layers WHERE id = ?").bind(id).run());
  TRY(x_database->prepare("DELETE FROM chunks WHERE ref_count = 0").run());
  return transaction.commit();
}

Result<std::vector<DeadSlot>> Catalog::dead_slots() {
  auto held = x_database->lock();
  auto rows = x_database->prepare(
      "SELECT segment, offset, size, rowid FROM dead_slots ORDER BY segment, offset");
  std::vector<DeadSlot> slots;
  for (;;) {
    TRY(more, rows.step());
    if (!more) return slots;
    const Slot slot = slot_row(rows);
    slots.push_back(
        {slot.segment, slot.offset, static_cast<uint64_t>(rows.integer(2)), rows.integer(3)});
  }
}

Result<void> Catalog::forget_dead_slots(std::span<const DeadSlot> slots) {
  TRY(transaction, x_database->begin());
  for (const DeadSlot& slot : slots) {
    TRY(x_database->prepare("DELETE FROM dead_slots WHERE rowid = ?").bind(slot.row).run());
  }
  return transaction.commit();
}

Result<std::vector<SegmentId>> Catalog::forget_empty_segments() {
  auto held = x_database->lock();
  auto rows = x_database->prepare(
      "DELETE FROM segments WHERE NOT EXISTS (SELECT 1 FROM chunks WHERE chunks.segment = "
      "segments.id) RETURNING id");
  std::vector<SegmentId> ids;
  for (;;) {
    TRY(more, rows.step());
    if (!more) return ids;
    ids.push_back(static_cast<SegmentId>(rows.integer(0)));
  }
}

Result<CatalogTotals> Catalog::totals() {
  auto held = x_database->lock();
  CatalogTotals totals;
  auto chunks = x_database->prepare(
      "SELECT COUNT(*), TOTAL(size), COUNT(CASE WHEN ref_count > 1 THEN 1 END), "
      "TOTAL(CASE WHEN ref_count > 1 THEN size END), TOTAL(size * (ref_count - 1)) FROM chunks");
  TRY(chunks.step());
  totals.chunks = static_cast<uint64_t>(chunks.integer(0));
  totals.bytes = static_cast<uint64_t>(chunks.integer(1));
  totals.shared_chunks = static_cast<uint64_t>(chunks.integer(2));
  totals.shared_bytes = static_cast<uint64_t>(chunks.integer(3));
  totals.saved_bytes = static_cast<uint64_t>(chunks.integer(4));
  auto counts =
      x_database->prepare("SELECT (SELECT COUNT(*) FROM segments), (SELECT COUNT(*) FROM layers)");
  TRY(counts.step());
  totals.segments = static_cast<uint64_t>(counts.integer(0));
  totals.layers = static_cast<uint64_t>(counts.integer(1));
  return totals;
}

}  // namespace dedup
