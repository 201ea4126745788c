#include "pool/catalog.h"

#include <gtest/gtest.h>

#include <array>

#include "base/bytes.h"
#include "unit/snapshotter/temp_dir.h"

namespace dedup {
namespace {

Digest named(const std::string& name) {
  return sha256(as_bytes(name));
}

struct Use {
  std::string chunk;
  Slot slot;
  uint64_t bytes;
  uint64_t uses;
};

class CatalogRows : public ::testing::Test {
 protected:
  void SetUp() override { open(); }
  void open() {
    catalog.reset();
    auto opened = Catalog::open(dir / "index.db");
    ASSERT_TRUE(opened.ok()) << opened.error().to_string();
    catalog = std::move(*opened);
  }
  void add(const std::string& layer, SegmentId segment, const std::vector<Use>& uses) {
    auto transaction = catalog->database().begin();
    ASSERT_TRUE(transaction.ok());
    if (segment != kZeroSegment) {
      ASSERT_TRUE(catalog->insert_segment({segment, named(layer), 10, 4096}).ok());
    }
    const auto id = catalog->insert_layer({named(layer), named("diff"), "tar", 10, 20, segment});
    ASSERT_TRUE(id.ok()) << id.error().to_string();
    std::vector<Catalog::ChunkUse> chunks;
    for (const Use& use : uses) {
      chunks.push_back({named(use.chunk), use.bytes, use.slot, use.uses});
    }
    const auto referenced = catalog->reference_chunks(*id, chunks);
    ASSERT_TRUE(referenced.ok()) << referenced.error().to_string();
    ASSERT_TRUE(transaction->commit().ok());
  }
  // COUNT(*), SUM(size) of the chunks that more than one extent uses.
  std::pair<int64_t, int64_t> shared() {
    auto held = catalog->database().lock();
    auto row =
        catalog->database().prepare("SELECT COUNT(*), SUM(size) FROM chunks WHERE ref_count > 1");
    EXPECT_TRUE(row.step().ok());
    return {row.integer(0), row.integer(1)};
  }

  TempDir dir;
  std::unique_ptr<Catalog> catalog;
};

TEST_F(CatalogRows, CountsReferences) {
  add("one", 1, {{"a", {1, 0}, 100, 1}, {"b", {1, 4096}, 200, 3}});
  EXPECT_EQ(shared(), std::pair(int64_t{1}, int64_t{200}));
  add("two", 2, {{"a", {1, 0}, 100, 2}, {"c", {2, 0}, 400, 1}});
  EXPECT_EQ(shared(), std::pair(int64_t{2}, int64_t{300}));
  const auto totals = *catalog->totals();
  EXPECT_EQ(totals.chunks, 3U);
  EXPECT_EQ(totals.bytes, 700U);
  EXPECT_EQ(totals.shared_chunks, 2U);
  EXPECT_EQ(totals.shared_bytes, 300U);
  EXPECT_EQ(totals.saved_bytes, 2 * 100U + 2 * 200U);
  EXPECT_EQ(totals.segments, 2U);
  EXPECT_EQ(totals.layers, 2U);
}

TEST_F(CatalogRows, FirstSlotOfAChunkStays) {
  add("one", 1, {{"a", {1, 0}, 100, 1}});
  add("two", 2, {{"a", {2, 8192}, 100, 1}, {"b", {2, 0}, 100, 1}});
  EXPECT_EQ(*catalog->find_chunk(named("a"), 100), (Slot{1, 0}));
  EXPECT_EQ(*catalog->find_chunk(named("b"), 100), (Slot{2, 0}));
}

TEST_F(CatalogRows, RemembersHowOftenEachLayerUsesAChunk) {
  add("one", 1, {{"a", {1, 0}, 100, 1}, {"b", {1, 4096}, 200, 3}});
  add("two", 2, {{"c", {2, 0}, 400, 5}, {"b", {2, 4096}, 200, 7}, {"d", {2, 8192}, 1, 2}});
  std::vector<std::array<int64_t, 3>> uses;  // layer, chunk's size, uses
  auto held = catalog->database().lock();
  auto rows = catalog->database().prepare(
      "SELECT layer, size, uses FROM layer_chunks JOIN chunks ON chunks.id = chunk ORDER BY 1, 2");
  while (*rows.step()) uses.push_back({rows.integer(0), rows.integer(1), rows.integer(2)});
  EXPECT_EQ(uses, (std::vector<std::array<int64_t, 3>>{
                      {1, 100, 1}, {1, 200, 3}, {2, 1, 2}, {2, 200, 7}, {2, 400, 5}}));
}

TEST_F(CatalogRows, SizeIsPartOfTheKey) {
  add("one", 1, {{"a", {1, 0}, 100, 1}, {"a", {1, 4096}, 5000, 1}});
  EXPECT_EQ(*catalog->find_chunk(named("a"), 100), (Slot{1, 0}));
  EXPECT_EQ(*catalog->find_chunk(named("a"), 5000), (Slot{1, 4096}));
  EXPECT_EQ(*catalog->find_chunk(named("a"), 101), std::nullopt);
  EXPECT_EQ(shared().first, 0);
}

TEST_F(CatalogRows, RemovalFreesExactlyWhatOnlyThatLayerUsed) {
  add("one", 1, {{"a", {1, 0}, 100, 1}, {"b", {1, 4096}, 200, 2}});
  add("two", 2, {{"a", {1, 0}, 100, 4}, {"c", {2, 0}, 400, 1}});
  ASSERT_TRUE(catalog->remove_layer(named("one")).ok());
  EXPECT_EQ(*catalog->layer(named("one")), std::nullopt);
  EXPECT_TRUE(catalog->find_chunk(named("a"), 100)->has_value());
  EXPECT_FALSE(catalog->find_chunk(named("b"), 200)->has_value());
  const auto dead = *catalog->dead_slots();
  ASSERT_EQ(dead.size(), 1U);
  EXPECT_EQ(dead[0].segment, 1U);
  EXPECT_EQ(dead[0].offset, 4096U);
  EXPECT_EQ(dead[0].bytes, 200U);
  EXPECT_TRUE(catalog->forget_empty_segments()->empty()) << "segment 1 still holds a";

  ASSERT_TRUE(catalog->remove_layer(named("one")).ok()) << "a second removal finds nothing";
  EXPECT_EQ(catalog->dead_slots()->size(), 1U);
  ASSERT_TRUE(catalog->forget_dead_slots(dead).ok());
  EXPECT_TRUE(catalog->dead_slots()->empty());

  ASSERT_TRUE(catalog->remove_layer(named("two")).ok());
  EXPECT_EQ(catalog->dead_slots()->size(), 2U);
  EXPECT_EQ(*catalog->forget_empty_segments(), (std::vector<SegmentId>{1, 2}));
  EXPECT_TRUE(catalog->segments()->empty());
  EXPECT_EQ(catalog->totals()->chunks, 0U);
}

// A node has a million chunks, most of them of other layers.
TEST_F(CatalogRows, RemovalLooksOnlyAtTheChunksOfItsLayer) {
  auto held = catalog->database().lock();
  auto plan =
      catalog->database().prepare("EXPLAIN QUERY PLAN DELETE FROM chunks WHERE ref_count = 0");
  ASSERT_TRUE(*plan.step());
  EXPECT_EQ(plan.text(3), "SEARCH chunks USING COVERING INDEX chunks_unused (ref_count=?)");
}

TEST_F(CatalogRows, ADroppedTransactionLeavesNothing) {
  {
    auto transaction = catalog->database().begin();
    ASSERT_TRUE(transaction.ok());
    ASSERT_TRUE(catalog->insert_segment({3, named("x"), 0, 0}).ok());
    const auto id = catalog->insert_layer({named("x"), {}, "tar", 0, 0, 3});
    const Catalog::ChunkUse use{named("a"), 1, {3, 0}, 1};
    ASSERT_TRUE(catalog->reference_chunks(*id, {&use, 1}).ok());
  }
  EXPECT_TRUE(catalog->segments()->empty());
  EXPECT_TRUE(catalog->layers()->empty());
  EXPECT_EQ(catalog->totals()->chunks, 0U);
}

TEST_F(CatalogRows, SurvivesReopen) {
  add("one", 5, {{"a", {5, 0}, 100, 1}});
  ASSERT_TRUE(catalog->remove_layer(named("nobody")).ok());
  open();
  EXPECT_EQ(*catalog->segments(), (std::vector<SegmentId>{5}));
  EXPECT_EQ(catalog->next_segment(), 6U);
  const auto layer = *catalog->layer(named("one"));
  ASSERT_TRUE(layer.has_value());
  EXPECT_EQ(layer->diff_id, named("diff"));
  EXPECT_EQ(layer->format, "tar");
  EXPECT_EQ(layer->blob_bytes, 10U);
  EXPECT_EQ(layer->data_bytes, 20U);
  EXPECT_EQ(layer->segment, 5U);
}

}  // namespace
}  // namespace dedup
