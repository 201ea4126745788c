#include "image/store.h"

#include <functional>

namespace dedup {
namespace {

constexpr char kSchema[] = R"(
CREATE TABLE IF NOT EXISTS images(ref TEXT PRIMARY KEY, manifest BLOB NOT NULL, layers BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS held_layers(holder TEXT NOT NULL, layer BLOB NOT NULL, PRIMARY KEY(holder, layer)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS held_chains(holder TEXT NOT NULL, chain BLOB NOT NULL, PRIMARY KEY(holder, chain)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS held_chains_by_chain ON held_chains(chain);
CREATE TABLE IF NOT EXISTS chains(id BLOB PRIMARY KEY, keep_whiteouts INTEGER NOT NULL, segments TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS chain_layers(
  chain BLOB NOT NULL, ordinal INTEGER NOT NULL, layer BLOB NOT NULL, PRIMARY KEY(chain, ordinal)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS locations(
  seen INTEGER PRIMARY KEY, blob BLOB NOT NULL, location TEXT NOT NULL, UNIQUE(blob, location));
CREATE TABLE IF NOT EXISTS targets(target TEXT PRIMARY KEY, ref TEXT NOT NULL, chain BLOB NOT NULL);
)";

// Calls `each` for every row of `rows`.
Result<void> for_rows(Statement& rows, const std::function<void(Statement&)>& each) {
  for (;;) {
    TRY(more, rows.step());
    if (!more) return {};
    each(rows);
  }
}

std::string pack_numbers(const std::vector<uint32_t>& numbers) {
  std::string text;
  for (const uint32_t number : numbers) text += std::to_string(number) + " ";
  return text;
}

std::vector<uint32_t> unpack_numbers(const std::string& text) {
  std::vector<uint32_t> numbers;
  for (size_t at = 0; at < text.size(); at = text.find(' ', at) + 1) {
    numbers.push_back(static_cast<uint32_t>(std::strtoul(text.c_str() + at, nullptr, 10)));
  }
  return numbers;
}

// Digests one after another, 32 bytes each.
std::string pack_digests(const std::vector<Digest>& digests) {
  std::string packed;
  for (const Digest& digest : digests)
    packed.append(reinterpret_cast<const char*>(digest.bytes.data()), 32);
  return packed;
}

std::vector<Digest> unpack_digests(const std::string& packed) {
  std::vector<Digest> digests(packed.size() / 32);
  for (size_t i = 0; i < digests.size(); ++i)
    std::memcpy(digests[i].bytes.data(), packed.data() + 32 * i, 32);
  return digests;
}

ImageRecord image_row(Statement& row) {
  return {row.text(0), row.digest(1), unpack_digests(row.text(2))};
}

}  // namespace

Result<std::unique_ptr<ImageStore>> ImageStore::open(Database& database) {
  TRY(database.execute(kSchema));
  return std::unique_ptr<ImageStore>(new ImageStore(database));
}

Result<void> ImageStore::put_image(const ImageRecord& image) {
  auto held = x_database.lock();
  auto insert = x_database.prepare(
      "INSERT OR REPLACE INTO images(ref, manifest, layers) VALUES(?, ?, CAST(? AS BLOB))");
  return insert.bind(image.ref, image.manifest_digest, pack_digests(image.layers)).run();
}

Result<std::optional<ImageRecord>> ImageStore::image(const std::string& ref) {
  auto held = x_database.lock();
  auto row = x_database.prepare("SELECT ref, manifest, layers FROM images WHERE ref = ?");
  TRY(found, row.bind(ref).step());
  if (!found) return std::optional<ImageRecord>();
  return std::optional(image_row(row));
}

Result<std::vector<ImageRecord>> ImageStore::images() {
  auto held = x_database.lock();
  auto rows = x_database.prepare("SELECT ref, manifest, layers FROM images ORDER BY ref");
  std::vector<ImageRecord> images;
  TRY(for_rows(rows, [&](Statement& row) { images.push_back(image_row(row)); }));
  return images;
}

Result<void> ImageStore::remove_image(const std::string& ref) {
  auto held = x_database.lock();
  return x_database.prepare("DELETE FROM images WHERE ref = ?").bind(ref).run();
}

Result<void> ImageStore::hold_layer(const std::string& holder, Digest layer) {
  auto held = x_database.lock();
  return x_database.prepare("INSERT OR IGNORE INTO held_layers(holder, layer) VALUES(?, ?)")
      .bind(holder, layer)
      .run();
}

Result<void> ImageStore::hold_chain(const std::string& holder, Digest chain) {
  auto held = x_database.lock();
  return x_database.prepare("INSERT OR IGNORE INTO held_chains(holder, chain) VALUES(?, ?)")
      .bind(holder, chain)
      .run();
}

Result<void> ImageStore::hold_only_layers(const std::string& holder,
                                          const std::vector<Digest>& layers) {
  TRY(transaction, x_database.begin());
  TRY(x_database.prepare("DELETE FROM held_layers WHERE holder = ?").bind(holder).run());
  for (const Digest& layer : layers) TRY(hold_layer(holder, layer));
  return transaction.commit();
}

Result<void> ImageStore::release(const std::string& holder) {
  TRY(transaction, x_database.begin());
  TRY(x_database.prepare("DELETE FROM held_layers WHERE holder = ?").bind(holder).run());
  TRY(x_database.prepare("DELETE FROM held_chains WHERE holder = ?").bind(holder).run());
  return transaction.commit();
}

Result<std::vector<std::string>> ImageStore::holders(const std::string& prefix) {
  auto held = x_database.lock();
  auto rows = x_database.prepare(
      "SELECT holder FROM held_layers WHERE substr(holder, 1, ?1) = ?2 "
      "UNION SELECT holder FROM held_chains WHERE substr(holder, 1, ?1) = ?2");
  std::vector<std::string> names;
  TRY(for_rows(rows.bind(prefix.size(), prefix),
               [&](Statement& row) { names.push_back(row.text(0)); }));
  return names;
}

Result<std::vector<std::string>> ImageStore::chain_holders(Digest chain) {
  auto held = x_database.lock();
  auto rows = x_database.prepare("SELECT holder FROM held_chains WHERE chain = ?");
  std::vector<std::string> names;
  TRY(for_rows(rows.bind(chain), [&](Statement& row) { names.push_back(row.text(0)); }));
  return names;
}

Result<void> ImageStore::put_chain(const ChainRecord& chain) {
  TRY(transaction, x_database.begin());
  auto insert = x_database.prepare(
      "INSERT OR REPLACE INTO chains(id, keep_whiteouts, segments) VALUES(?, ?, ?)");
  TRY(insert.bind(chain.id, chain.keep_whiteouts ? 1 : 0, pack_numbers(chain.segments)).run());
  for (size_t i = 0; i < chain.layers.size(); ++i) {
    auto link = x_database.prepare(
        "INSERT OR REPLACE INTO chain_layers(chain, ordinal, layer) VALUES(?, ?, ?)");
    TRY(link.bind(chain.id, i, chain.layers[i]).run());
  }
  return transaction.commit();
}

Result<std::vector<ChainRecord>> ImageStore::chains() {
  auto held = x_database.lock();
  std::vector<ChainRecord> chains;
  auto rows = x_database.prepare("SELECT id, keep_whiteouts, segments FROM chains");
  TRY(for_rows(rows, [&](Statement& row) {
    chains.push_back({row.digest(0), {}, row.integer(1) != 0, unpack_numbers(row.text(2))});
  }));
  for (ChainRecord& chain : chains) {
    auto layers =
        x_database.prepare("SELECT layer FROM chain_layers WHERE chain = ? ORDER BY ordinal");
    TRY(for_rows(layers.bind(chain.id),
                 [&](Statement& row) { chain.layers.push_back(row.digest(0)); }));
  }
  return chains;
}

Result<void> ImageStore::remove_chain(Digest id) {
  TRY(transaction, x_database.begin());
  TRY(x_database.prepare("DELETE FROM chain_layers WHERE chain = ?").bind(id).run());
  TRY(x_database.prepare("DELETE FROM chains WHERE id = ?").bind(id).run());
  return transaction.commit();
}

Result<std::vector<Digest>> ImageStore::digests(const char* sql) {
  auto held = x_database.lock();
  auto rows = x_database.prepare(sql);
  std::vector<Digest> found;
  TRY(for_rows(rows, [&](Statement& row) { found.push_back(row.digest(0)); }));
  return found;
}

Result<std::vector<UnheldChain>> ImageStore::unheld_chains() {
  auto held = x_database.lock();
  auto rows = x_database.prepare(
      "SELECT id, NOT EXISTS(SELECT 1 FROM chain_layers WHERE chain = id AND layer NOT IN "
      "(SELECT layer FROM held_layers)) FROM chains WHERE id NOT IN (SELECT chain FROM "
      "held_chains)");
  std::vector<UnheldChain> chains;
  TRY(for_rows(rows, [&chains](Statement& row) {
    chains.push_back({row.digest(0), row.integer(1) != 0});
  }));
  return chains;
}

Result<std::vector<Digest>> ImageStore::unheld_layers() {
  return digests(
      "SELECT digest FROM layers WHERE digest NOT IN (SELECT layer FROM held_layers) "
      "AND digest NOT IN (SELECT layer FROM chain_layers)");
}

Result<void> ImageStore::put_location(Digest blob, const std::string& location) {
  auto held = x_database.lock();
  return x_database.prepare("INSERT OR REPLACE INTO locations(blob, location) VALUES(?, ?)")
      .bind(blob, location)
      .run();
}

Result<std::vector<std::pair<Digest, std::string>>> ImageStore::locations() {
  auto held = x_database.lock();
  auto rows = x_database.prepare("SELECT blob, location FROM locations ORDER BY seen");
  std::vector<std::pair<Digest, std::string>> found;
  TRY(for_rows(rows, [&](Statement& row) { found.emplace_back(row.digest(0), row.text(1)); }));
  return found;
}

Result<void> ImageStore::forget_locations_without_layer() {
  auto held = x_database.lock();
  // A segment outlives its layer while other layers use its chunks, and is still filled from its
  // own blob.
  return x_database
      .prepare(
          "DELETE FROM locations WHERE blob NOT IN (SELECT digest FROM layers) AND blob NOT IN "
          "(SELECT blob FROM segments)")
      .run();
}

Result<void> ImageStore::put_target(const TargetRecord& target) {
  auto held = x_database.lock();
  auto insert =
      x_database.prepare("INSERT OR REPLACE INTO targets(target, ref, chain) VALUES(?, ?, ?)");
  return insert.bind(target.target, target.ref, target.chain).run();
}

Result<std::vector<TargetRecord>> ImageStore::targets() {
  auto held = x_database.lock();
  auto rows = x_database.prepare("SELECT target, ref, chain FROM targets ORDER BY target");
  std::vector<TargetRecord> found;
  TRY(for_rows(rows, [&](Statement& row) {
    found.push_back({row.text(0), row.text(1), row.digest(2)});
  }));
  return found;
}

Result<void> ImageStore::remove_target(const std::string& target) {
  auto held = x_database.lock();
  return x_database.prepare("DELETE FROM targets WHERE target = ?").bind(target).run();
}

}  // namespace dedup
