#include "pool/layer_commit.h"

#include "unit/pool/pool_rig.h"

namespace dedup::test {
namespace {

class LayerCommit : public ::testing::Test {
 protected:
  void SetUp() override { rig.open(); }
  CatalogTotals totals() { return *rig.pool->catalog().totals(); }

  PoolRig rig;
};

TEST_F(LayerCommit, ALazyLayerHasSlotsAndMissingPieces) {
  LazyLayer layer =
      LazyLayer::make({{"a", noise(1, 5000)}, {"b", noise(2, 10)}, {"c", noise(1, 5000)}});
  const auto record = rig.add(layer);
  ASSERT_TRUE(record.ok()) << record.error().to_string();
  EXPECT_EQ(record->data_bytes, 10010U);
  EXPECT_EQ(totals().chunks, 2U);
  EXPECT_EQ(totals().shared_chunks, 1U) << "two files of one layer have the same content";
  EXPECT_EQ(totals().shared_bytes, 5000U);
  const auto placed = load_layer_index(rig.options.directory, layer.blob);
  ASSERT_TRUE(placed.ok()) << placed.error().to_string();
  ASSERT_EQ(placed->slots->size(), 3U);
  EXPECT_EQ((*placed->slots)[0], (*placed->slots)[2]);
  EXPECT_EQ((*placed->slots)[0], (Slot{record->segment, 0}));
  EXPECT_EQ((*placed->slots)[1], (Slot{record->segment, 8192}));
  EXPECT_EQ(rig.present_bytes(), 0U);
  EXPECT_TRUE(rig.pool->can_fill(*placed));
  EXPECT_TRUE(rig.ensure(record->segment, {0, 12288}).ok());
  EXPECT_EQ(rig.read_file(layer.blob, "c"), noise(1, 5000));
}

TEST_F(LayerCommit, AStreamedLayerIsThereAtOnce) {
  const auto record = rig.stream({{"a", noise(1, 9000)}, {"empty", ""}, {"b", noise(2, 10)}},
                                 PoolRig::record_of("one"));
  ASSERT_TRUE(record.ok()) << record.error().to_string();
  EXPECT_EQ(rig.read_file(record->digest, "a"), noise(1, 9000));
  EXPECT_EQ(rig.read_file(record->digest, "b"), noise(2, 10));
  EXPECT_EQ(rig.read_file(record->digest, "empty"), "");
  EXPECT_TRUE(rig.pool->segment(record->segment)->complete());
}

TEST_F(LayerCommit, LayersShareWhatTheyHaveInCommon) {
  const auto first =
      rig.stream({{"a", noise(1, 9000)}, {"b", noise(2, 10)}}, PoolRig::record_of("one"));
  const auto second =
      rig.stream({{"x", noise(1, 9000)}, {"y", noise(3, 20)}}, PoolRig::record_of("two"));
  ASSERT_TRUE(second.ok()) << second.error().to_string();
  EXPECT_EQ(totals().chunks, 3U);
  EXPECT_EQ(totals().shared_bytes, 9000U);
  EXPECT_EQ(totals().saved_bytes, 9000U);
  EXPECT_EQ(rig.pool->segment(second->segment)->present_bytes(), 20U);
  EXPECT_EQ(rig.read_file(second->digest, "x"), noise(1, 9000));
  // Nothing new: no segment of its own, no files.
  const size_t files = PoolRig::names_in(rig.segments()).size();
  const auto third = rig.stream({{"z", noise(3, 20)}}, PoolRig::record_of("three"));
  ASSERT_TRUE(third.ok()) << third.error().to_string();
  EXPECT_EQ(third->segment, kZeroSegment);
  EXPECT_EQ(PoolRig::names_in(rig.segments()).size(), files);
  EXPECT_EQ(rig.read_file(third->digest, "z"), noise(3, 20));
  // A lazy layer finds the bytes that a streamed one brought.
  LazyLayer lazy = LazyLayer::make({{"q", noise(2, 10)}, {"r", noise(4, 30)}});
  ASSERT_TRUE(rig.add(lazy).ok());
  EXPECT_EQ(rig.read_file(lazy.blob, "q"), noise(2, 10));
  EXPECT_EQ(rig.read_file(lazy.blob, "r"), std::nullopt);
}

TEST_F(LayerCommit, AStreamReliedOnAChunkThatVanished) {
  const auto first = rig.stream({{"a", noise(1, 9000)}}, PoolRig::record_of("one"));
  ASSERT_TRUE(first.ok());
  auto writer =
      LayerWriter::open(rig.pool->catalog(), rig.options.directory, rig.pool->new_segment(),
                        rig.pool->missing(), rig.options.chunk_bytes, {});
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(write_files(**writer, {{"x", noise(1, 9000)}, {"y", noise(2, 100)}}).ok());
  ASSERT_TRUE(rig.loop.run(rig.pool->remove_layer(first->digest)).ok());
  auto plan = (*writer)->finish(PoolRig::record_of("two"));
  ASSERT_TRUE(plan.ok());
  const auto second = rig.loop.run(rig.pool->add_layer(std::move(*plan)));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Errc::kUnavailable);
  EXPECT_EQ(totals().layers, 0U);
  EXPECT_EQ(PoolRig::names_in(rig.segments()), (std::vector<std::string>{"00000000.data"}));
  EXPECT_TRUE(PoolRig::names_in(rig.layers()).empty());
  const auto again =
      rig.stream({{"x", noise(1, 9000)}, {"y", noise(2, 100)}}, PoolRig::record_of("two"));
  ASSERT_TRUE(again.ok()) << again.error().to_string();
  EXPECT_EQ(rig.read_file(again->digest, "x"), noise(1, 9000));
}

TEST_F(LayerCommit, TwoStreamsOfTheSameContentAtOnce) {
  const std::vector<NamedFile> files = {{"x", noise(1, 9000)}, {"y", noise(2, 100)}};
  std::vector<LayerPlan> plans;
  for (const char* name : {"one", "two"}) {
    auto writer =
        LayerWriter::open(rig.pool->catalog(), rig.options.directory, rig.pool->new_segment(),
                          rig.pool->missing(), rig.options.chunk_bytes, {});
    ASSERT_TRUE(write_files(**writer, files).ok());
    plans.push_back(std::move(*(*writer)->finish(PoolRig::record_of(name))));
  }
  for (LayerPlan& plan : plans) {
    const auto record = rig.loop.run(rig.pool->add_layer(std::move(plan)));
    ASSERT_TRUE(record.ok()) << record.error().to_string();
    EXPECT_EQ(rig.read_file(record->digest, "x"), noise(1, 9000));
  }
  EXPECT_EQ(totals().chunks, 2U);
  EXPECT_TRUE(rig.check().bad.empty());
  // The first goes; the second lives on the first's segment.
  ASSERT_TRUE(rig.loop.run(rig.pool->remove_layer(PoolRig::record_of("one").digest)).ok());
  EXPECT_EQ(rig.read_file(PoolRig::record_of("two").digest, "y"), noise(2, 100));
}

TEST_F(LayerCommit, ALayerCannotBeAddedTwice) {
  ASSERT_TRUE(rig.stream({{"a", noise(1, 9000)}}, PoolRig::record_of("one")).ok());
  const auto before = PoolRig::names_in(rig.segments());
  const auto again = rig.stream({{"other", noise(2, 9000)}}, PoolRig::record_of("one"));
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, Errc::kExists);
  EXPECT_EQ(PoolRig::names_in(rig.segments()), before);
  EXPECT_EQ(rig.read_file(PoolRig::record_of("one").digest, "a"), noise(1, 9000))
      << "its index file was not replaced";
}

TEST_F(LayerCommit, ADirectoryIsNamedByItsContent) {
  LayerRecord record;
  record.format = "directory";
  const auto first = rig.stream({{"a", noise(1, 9000)}}, record);
  ASSERT_TRUE(first.ok()) << first.error().to_string();
  EXPECT_FALSE(first->digest.is_zero());
  const auto before = PoolRig::names_in(rig.segments());
  const auto second = rig.stream({{"a", noise(1, 9000)}}, record);
  ASSERT_TRUE(second.ok()) << second.error().to_string();
  EXPECT_EQ(second->digest, first->digest);
  EXPECT_EQ(PoolRig::names_in(rig.segments()), before);
  EXPECT_EQ(totals().layers, 1U);
  EXPECT_EQ(totals().saved_bytes, 0U);
  const auto other = rig.stream({{"b", noise(1, 9000)}}, record);
  ASSERT_TRUE(other.ok());
  EXPECT_NE(other->digest, first->digest);
}

// A false claim in a lazy index (a digest with another size) must not reach past the slot of the
// true chunk.
TEST_F(LayerCommit, AClaimedDigestWithAnotherSizeIsAnotherChunk) {
  ASSERT_TRUE(rig.stream({{"a", noise(1, 100)}}, PoolRig::record_of("one")).ok());
  LazyLayer liar = LazyLayer::make({{"a", noise(1, 100)}});
  liar.plan.index.inodes.back().size = 50'000;
  liar.plan.index.extents[0].bytes = liar.plan.index.chunks[0].bytes = 50'000;
  const auto record = rig.add(liar);
  ASSERT_TRUE(record.ok()) << record.error().to_string();
  EXPECT_NE(record->segment, kZeroSegment);
  EXPECT_EQ(rig.read_file(liar.blob, "a"), std::nullopt);
  EXPECT_FALSE(rig.ensure(record->segment, {0, 1}).ok());
}

TEST_F(LayerCommit, ADamagedIndexFileIsRefused) {
  LazyLayer layer = LazyLayer::make({{"a", noise(1, 5000)}});
  ASSERT_TRUE(rig.add(layer).ok());
  const std::string path = layer_index_path(rig.options.directory, layer.blob);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  const auto placed = load_layer_index(rig.options.directory, layer.blob);
  ASSERT_FALSE(placed.ok());
  EXPECT_EQ(placed.error().code, Errc::kCorruption);
  EXPECT_NE(placed.error().context.find(layer.blob.hex()), std::string::npos);
  EXPECT_EQ(load_layer_index(rig.options.directory, sha256({})).error().code, Errc::kNotFound);
}

}  // namespace
}  // namespace dedup::test
