#include "trace/prefetcher.h"

#include <gtest/gtest.h>

#include "unit/pool/pool_rig.h"

namespace dedup::test {
namespace {

constexpr uint64_t kMiB = 1 << 20;

class PrefetcherTest : public ::testing::Test {
 protected:
  void SetUp() override {
    rig.options.fetch.background_coalesce.max_gap_bytes = 0;
    rig.open();
  }
  void TearDown() override {
    rig.loop.call([this] { prefetcher->stop(); });
    rig.loop.run(prefetcher->close());
  }
  void start(unsigned workers, uint64_t max_bytes_per_s = 0) {
    prefetcher.emplace(
        rig.loop.ring(), rig.log, *rig.pool,
        PrefetchOptions{
            .workers = workers, .coalesce = {0, kMiB}, .max_bytes_per_s = max_bytes_per_s});
  }

  // A layer of `count` files of a MiB, one piece each.
  SegmentId add_layer(unsigned first, unsigned count) {
    std::vector<NamedFile> files;
    for (unsigned i = first; i < first + count; ++i)
      files.emplace_back("f" + std::to_string(i), noise(i, kMiB));
    layers.push_back(LazyLayer::make(files, 16));
    const auto record = rig.add(layers.back());
    EXPECT_TRUE(record.ok());
    return record->segment;
  }
  static PrefetchRange piece(SegmentId segment, uint64_t index, uint64_t wanted_us = 0) {
    return {segment, {index * kMiB, kMiB}, wanted_us};
  }
  void add(const char* name, std::vector<PrefetchRange> ranges) {
    rig.loop.call([&] { prefetcher->add({name, sha256(as_bytes(name)), std::move(ranges)}); });
  }
  bool waits_for(const PrefetchRange& wanted) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!rig.present(wanted.segment, wanted.range)) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  }
  std::vector<uint64_t> read_offsets() {
    std::vector<uint64_t> offsets;
    rig.loop.call([&] {
      for (const auto& read : rig.source.reads) offsets.push_back(read.range.offset);
    });
    return offsets;
  }

  PoolRig rig;
  std::vector<LazyLayer> layers;
  std::optional<Prefetcher> prefetcher;
};

TEST_F(PrefetcherTest, BringsRangesInTheOrderGiven) {
  start(1);
  const SegmentId segment = add_layer(0, 16);
  std::vector<PrefetchRange> ranges;
  for (const uint64_t index : {12, 2, 14, 4, 6, 0, 8, 10}) ranges.push_back(piece(segment, index));
  add("list", ranges);
  for (const PrefetchRange& wanted : ranges) EXPECT_TRUE(waits_for(wanted));
  std::vector<uint64_t> order;
  for (const uint64_t offset : read_offsets()) order.push_back(offset / kMiB);
  EXPECT_EQ(order, (std::vector<uint64_t>{12, 2, 14, 4, 6, 0, 8, 10}));
  for (const uint64_t index : {1, 3, 5, 15})
    EXPECT_FALSE(rig.present(segment, piece(segment, index).range));
}

TEST_F(PrefetcherTest, FetchesOnlyWhatIsMissingAndBehindOnDemandReads) {
  start(4);
  const SegmentId segment = add_layer(0, 4);
  ASSERT_TRUE(rig.ensure(segment, {0, 2 * kMiB}).ok());
  const size_t before = rig.reads();
  add("list", {piece(segment, 0), piece(segment, 1), piece(segment, 3)});
  EXPECT_TRUE(waits_for(piece(segment, 3)));
  ASSERT_EQ(rig.reads(), before + 1);
  rig.loop.call([&] { EXPECT_EQ(rig.source.reads.back().priority, Priority::kPrefetch); });
  add("all there", {piece(segment, 0)});
  add("empty", {});
  EXPECT_EQ(rig.reads(), before + 1);
}

TEST_F(PrefetcherTest, ListsTakeTurns) {
  start(1);
  const SegmentId one = add_layer(0, 16);
  const SegmentId two = add_layer(100, 16);
  rig.loop.call([&] { rig.source.hold(); });
  std::vector<PrefetchRange> long_list, short_list;
  for (uint64_t i = 0; i < 16; ++i) long_list.push_back(piece(one, i));
  for (uint64_t i = 0; i < 4; ++i) short_list.push_back(piece(two, i));
  add("long", long_list);
  add("short", short_list);
  rig.loop.call([&] { rig.source.release(); });
  EXPECT_TRUE(waits_for(piece(one, 15)));
  std::vector<Digest> blobs;
  rig.loop.call([&] {
    for (const auto& read : rig.source.reads)
      if (blobs.empty() || blobs.back() != read.blob) blobs.push_back(read.blob);
  });
  const Digest a = layers[0].blob, b = layers[1].blob;  // a read of one, a read of the other
  EXPECT_EQ(blobs, (std::vector<Digest>{a, b, a, b, a, b, a, b, a}));
}

TEST_F(PrefetcherTest, WhatIsWantedEarlierComesFirst) {
  start(1);
  const SegmentId late = add_layer(0, 8);
  const SegmentId early = add_layer(100, 8);
  rig.loop.call([&] { rig.source.hold(); });
  std::vector<PrefetchRange> later, sooner;
  for (uint64_t i = 0; i < 8; i += 2) later.push_back(piece(late, i, 500 + i));
  for (uint64_t i = 0; i < 8; i += 2) sooner.push_back(piece(early, i, 100 + i));
  add("late", later);  // its first read is under way when the other comes
  add("early", sooner);
  rig.loop.call([&] { rig.source.release(); });
  EXPECT_TRUE(waits_for(piece(late, 6)));
  std::vector<Digest> blobs;
  rig.loop.call([&] {
    for (const auto& read : rig.source.reads)
      if (blobs.empty() || blobs.back() != read.blob) blobs.push_back(read.blob);
  });
  EXPECT_EQ(blobs, (std::vector<Digest>{layers[0].blob, layers[1].blob, layers[0].blob}));
}

TEST_F(PrefetcherTest, AListWhoseSourceIsIllIsGivenUp) {
  start(1);
  const SegmentId ill = add_layer(0, 16);
  const SegmentId well = add_layer(100, 8);
  rig.loop.call([&] { rig.source.blobs.erase(layers[0].blob); });
  std::vector<PrefetchRange> bad, good;
  for (uint64_t i = 0; i < 16; ++i) bad.push_back(piece(ill, i));
  for (uint64_t i = 0; i < 8; ++i) good.push_back(piece(well, i));
  add("bad", bad);
  add("good", good);
  for (const PrefetchRange& wanted : good) EXPECT_TRUE(waits_for(wanted));
  size_t tries = 0;
  rig.loop.call([&] {
    for (const auto& read : rig.source.reads) tries += read.blob == layers[0].blob ? 1 : 0;
  });
  EXPECT_GE(tries, 1u);
  EXPECT_LE(tries, 4u) << "its first reads and no more";
}

TEST_F(PrefetcherTest, StopsInTheMiddleOfAList) {
  start(2);
  const SegmentId segment = add_layer(0, 64);
  rig.loop.call([&] { rig.source.hold(); });
  std::vector<PrefetchRange> ranges;
  for (uint64_t i = 0; i < 64; ++i) ranges.push_back(piece(segment, i));
  add("list", ranges);
  rig.loop.call([&] {
    prefetcher->stop();
    rig.source.release();
  });
  rig.loop.run(prefetcher->close());
  EXPECT_LE(rig.present_bytes(), 8 * kMiB);
  add("later", ranges);
  EXPECT_LE(rig.reads(), 8u);
}

TEST_F(PrefetcherTest, WhatAnOwnerTakesBackIsNotFetched) {
  start(1);
  const SegmentId segment = add_layer(0, 16);
  rig.loop.call([&] { rig.source.hold(); });
  std::vector<PrefetchRange> ranges;
  for (uint64_t i = 0; i < 16; ++i) ranges.push_back(piece(segment, i));
  add("gone", ranges);
  rig.loop.call([&] {
    prefetcher->drop(sha256(as_bytes("gone")));
    rig.source.release();
  });
  add("next", {piece(segment, 15)});
  EXPECT_TRUE(waits_for(piece(segment, 15)));
  EXPECT_FALSE(rig.present(segment, piece(segment, 8).range));
}

TEST_F(PrefetcherTest, AListOfOtherContainersIsDropped) {
  start(1);
  const SegmentId right = add_layer(0, 40);
  const SegmentId wrong = add_layer(100, 40);
  const auto last_half = [](SegmentId segment) {
    std::vector<PrefetchRange> ranges;
    for (uint64_t i = 20; i < 40; ++i) ranges.push_back(piece(segment, i));
    return ranges;
  };
  rig.loop.call([&] { rig.source.hold(); });
  add("right", last_half(right));
  add("wrong", last_half(wrong));
  rig.loop.call([&] {
    const auto reads = [&](SegmentId segment, uint64_t index) {
      prefetcher->fetched({segment, piece(segment, index).range, FetchReason::kReader, 1, 1});
    };
    for (uint64_t i = 30; i < 38; ++i) reads(right, i);
    for (uint64_t i = 0; i < 16; ++i) reads(right, i);
    for (uint64_t i = 0; i < 8; ++i) reads(wrong, i);
    rig.source.release();
  });
  EXPECT_TRUE(waits_for(piece(right, 39)));
  EXPECT_FALSE(rig.present(wrong, piece(wrong, 25).range)) << "its turn came before that";
}

// Another image's containers read its base layer, too: that is no word about this image's list.
TEST_F(PrefetcherTest, ReadersOfWhatImagesShareAreNotJudged) {
  start(1);
  const SegmentId shared = add_layer(0, 20);
  const SegmentId later = add_layer(100, 2);
  const auto strays_meet = [&](uint64_t first, uint64_t marker) {
    rig.loop.call([&] { rig.source.hold(); });
    add("list", {piece(shared, first), piece(shared, first + 1)});
    add("later", {piece(later, marker, 1'000'000)});
    rig.loop.call([&] {
      for (uint64_t i = 0; i < 8; ++i)
        prefetcher->fetched({shared, piece(shared, i).range, FetchReason::kReader, 1, 1});
      rig.source.release();
    });
  };
  rig.loop.call([&] {
    prefetcher->used({shared});
    prefetcher->used({shared, later});
  });
  strays_meet(10, 0);
  EXPECT_TRUE(waits_for(piece(shared, 11)));
  rig.loop.call([&] { prefetcher->unused({shared, later}); });
  strays_meet(12, 1);
  EXPECT_TRUE(waits_for(piece(later, 1)));
  EXPECT_FALSE(rig.present(shared, piece(shared, 13).range)) << "its turn came before that";
}

TEST_F(PrefetcherTest, GivesTheLinkToReadersItDidNotExpect) {
  start(4);
  const SegmentId segment = add_layer(0, 15);
  constexpr std::chrono::milliseconds kPause = PrefetchOptions().stray_pause;
  std::chrono::steady_clock::time_point last_stray;
  rig.loop.call([&] {
    rig.source.hold();
    std::vector<PrefetchRange> ranges;
    for (uint64_t i = 0; i < 14; ++i) ranges.push_back(piece(segment, i));
    prefetcher->add({"list", {}, std::move(ranges)});
    prefetcher->fetched({segment, piece(segment, 14).range, FetchReason::kReader, 1, 1});
    last_stray = std::chrono::steady_clock::now();
    rig.source.release();
  });
  EXPECT_TRUE(waits_for(piece(segment, 13)));
  EXPECT_GE(std::chrono::steady_clock::now() - last_stray, kPause);
}

TEST_F(PrefetcherTest, HasNoMoreBytesUnderWayThanItMay) {
  PrefetchOptions options{.workers = 8, .coalesce = {0, kMiB}};
  options.max_bytes_under_way = 3 * kMiB + kMiB / 2;
  prefetcher.emplace(rig.loop.ring(), rig.log, *rig.pool, options);
  const SegmentId segment = add_layer(0, 16);  // of noise: about a MiB as compressed each
  rig.loop.call([&] { rig.source.hold(); });
  std::vector<PrefetchRange> ranges;
  for (uint64_t i = 0; i < 16; i += 2) ranges.push_back(piece(segment, i));
  add("list", ranges);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(rig.reads(), 4u) << "one begins while there are less";
  rig.loop.call([&] { rig.source.release(); });
  EXPECT_TRUE(waits_for(piece(segment, 14)));
}

TEST_F(PrefetcherTest, FillsTheRestOnlyWhenNothingElseIsToDo) {
  start(1);
  const SegmentId segment = add_layer(0, 16);
  rig.loop.call([&] {
    rig.source.hold();
    PrefetchList rest{"rest", {}, {}, Priority::kBackground};
    for (uint64_t i = 0; i < 12; ++i) rest.ranges.push_back(piece(segment, i));
    prefetcher->add(std::move(rest));
    prefetcher->add({"list", {}, {piece(segment, 13), piece(segment, 14)}});
    rig.source.release();
  });
  EXPECT_TRUE(waits_for(piece(segment, 11)));
  std::vector<uint64_t> order;
  rig.loop.call([&] {
    for (const auto& read : rig.source.reads) order.push_back(read.range.offset / kMiB);
  });
  const auto place = [&order](uint64_t index) { return std::ranges::find(order, index); };
  EXPECT_LT(place(13), place(4)) << "the first batch of the rest was under way";
  EXPECT_LT(place(14), place(4));
}

TEST_F(PrefetcherTest, TakesNoMoreThanItsShareOfTheLink) {
  start(4, 8 * kMiB);
  const SegmentId segment = add_layer(0, 8);  // of noise: a MiB as compressed each
  std::vector<PrefetchRange> ranges;
  for (uint64_t i = 0; i < 8; ++i) ranges.push_back(piece(segment, i));
  const auto began = std::chrono::steady_clock::now();
  add("list", ranges);
  for (const PrefetchRange& wanted : ranges) EXPECT_TRUE(waits_for(wanted));
  // The last waits for the seven before it.
  EXPECT_GE(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(800));
}

TEST_F(PrefetcherTest, BeforeTheLandmarkInTheOrderOfTheBlob) {
  start(1);
  const SegmentId id = add_layer(0, 4);
  rig.loop.call([&] {
    const auto segment = rig.pool->segment(id);
    const uint64_t landmark = segment->piece(3).chunk.blob_offset;
    const auto ranges = before_landmark(*segment, {0, landmark});
    ASSERT_EQ(ranges.size(), 3u);
    for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(ranges[i].range.offset, i * kMiB);
    EXPECT_TRUE(before_landmark(*segment, {0, 0}).empty());
  });
}

}  // namespace
}  // namespace dedup::test
