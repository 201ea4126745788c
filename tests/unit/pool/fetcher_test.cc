#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <future>

#include "pool/files.h"
#include "unit/pool/pool_rig.h"

namespace dedup::test {
namespace {

struct Ask {
  ByteRange range;
  Priority priority = Priority::kOnDemand;
};

Task<void> ask(Pool* pool, SegmentId segment, Ask one, Result<void>* answer,
               std::vector<size_t>* order, size_t index) {
  *answer = co_await pool->ensure(segment, one.range, one.priority);
  order->push_back(index);
}

Task<void> wait_for(TaskScope* scope) {
  co_await scope->join();
}

class FetcherTest : public ::testing::Test {
 protected:
  void SetUp() override {
    rig.options.fetch.max_background_reads = 4;
    rig.options.fetch.max_bytes = 60'000;
    rig.options.readaround_bytes = 0;
    rig.open();
  }

  // Five files of 5000 bytes with `gap` bytes between them; the pieces lie at multiples of 8192.
  void add_files(size_t gap = 0, size_t count = 5) {
    std::vector<NamedFile> files;
    for (size_t i = 0; i < count; ++i)
      files.emplace_back("f" + std::to_string(i), noise(static_cast<unsigned>(i), 5000));
    layer = LazyLayer::make(files, gap);
    const auto record = rig.add(layer);
    ASSERT_TRUE(record.ok()) << record.error().to_string();
    segment = record->segment;
  }
  static ByteRange piece(size_t index) { return {8192 * index, 5000}; }
  // Sends all in one turn of the loop.
  void start(const std::vector<Ask>& asks) {
    answers.resize(asks.size());
    rig.loop.call([&] {
      for (size_t i = 0; i < asks.size(); ++i) {
        scope.spawn(ask(rig.pool.get(), segment, asks[i], &answers[i], &order, i));
      }
    });
  }
  void finish() { rig.loop.run(wait_for(&scope)); }
  FetchCounters counters() {
    FetchCounters copy;
    rig.loop.call([&] { copy = rig.pool->fetch_counters(); });
    return copy;
  }
  std::vector<FakeSource::Read> reads() {
    std::vector<FakeSource::Read> copy;
    rig.loop.call([&] { copy = rig.source.reads; });
    return copy;
  }
  void intervene(FakeSource::Intervene action) {
    rig.loop.call([&] { rig.source.intervene = std::move(action); });
  }
  void hold() {
    rig.loop.call([&] { rig.source.hold(); });
  }
  void release() {
    rig.loop.call([&] { rig.source.release(); });
  }

  PoolRig rig;
  LazyLayer layer;
  Result<void> late;
  SegmentId segment = 0;
  TaskScope scope;
  std::vector<Result<void>> answers;
  std::vector<size_t> order;
};

TEST_F(FetcherTest, ManyWhoWantOnePieceShareOneRead) {
  add_files();
  rig.loop.call([&] { rig.source.latency = std::chrono::milliseconds(20); });
  start(std::vector<Ask>(64, Ask{piece(2)}));
  finish();
  for (const auto& answer : answers) EXPECT_TRUE(answer.ok());
  EXPECT_EQ(reads().size(), 1U);
  EXPECT_EQ(counters().pieces, 1U);
  EXPECT_EQ(counters().blob_bytes, 5000U);
  EXPECT_EQ(rig.read_file(layer.blob, "f2"), noise(2, 5000));
  EXPECT_EQ(rig.read_file(layer.blob, "f1"), std::nullopt);
  EXPECT_TRUE(rig.ensure(segment, piece(2)).ok());
  EXPECT_EQ(reads().size(), 1U) << "a present piece is not read again";
}

TEST_F(FetcherTest, NeighboursOfOneTurnAreOneRead) {
  add_files(512);
  start({{piece(3)}, {piece(0)}, {piece(1)}, {piece(4)}});
  finish();
  ASSERT_EQ(reads().size(), 1U);
  EXPECT_EQ(reads()[0].range, (ByteRange{512, 5 * 5512 - 512})) << "f2 is a gap worth reading";
  for (const size_t i : {0U, 1U, 3U, 4U}) {
    EXPECT_EQ(rig.read_file(layer.blob, "f" + std::to_string(i)),
              noise(static_cast<unsigned>(i), 5000))
        << i;
  }
  EXPECT_FALSE(rig.present(segment, piece(2)));
  EXPECT_EQ(counters().blob_bytes, 20000U);
}

TEST_F(FetcherTest, FarPiecesAreReadByThemselves) {
  add_files(200'000);
  EXPECT_TRUE(rig.ensure(segment, {0, 8192 * 5}).ok());
  EXPECT_EQ(reads().size(), 5U);
  for (const auto& read : reads()) EXPECT_EQ(read.range.length, 5000U);
}

TEST_F(FetcherTest, NoMoreBytesAreInFlightThanThereIsMemoryFor) {
  add_files(200'000, 20);
  hold();
  start({{{0, 8192 * 20}}});
  EXPECT_EQ(reads().size(), 12U) << "of 5000 bytes each";
  release();
  finish();
  EXPECT_EQ(reads().size(), 20U);
}

TEST_F(FetcherTest, TellsWhoAskedForAPieceFirstAndHowLongReadersWaited) {
  add_files(200'000);
  std::map<uint64_t, FetchRecord> records;
  rig.loop.call([&] {
    rig.pool->on_fetched([&](const FetchRecord& one) { records[one.range.offset] = one; });
  });
  hold();
  start({{piece(0), Priority::kOnDemand},
         {piece(1), Priority::kPrefetch},
         {piece(2), Priority::kBackground}});
  rig.loop.call([&] { scope.spawn(ask(rig.pool.get(), segment, {piece(1)}, &late, &order, 9)); });
  release();
  finish();
  ASSERT_EQ(records.size(), 3U);
  EXPECT_EQ(records[0].reason, FetchReason::kReader);
  EXPECT_EQ(records[8192].reason, FetchReason::kPrefetch);
  EXPECT_EQ(records[16384].reason, FetchReason::kBackground);
  EXPECT_GT(records[0].wait_ns, 0U);
  EXPECT_GT(records[8192].wait_ns, 0U) << "under way already, but a reader came";
  EXPECT_EQ(records[16384].wait_ns, 0U);
  rig.loop.call([&] { rig.pool->on_fetched({}); });
}

TEST_F(FetcherTest, OnDemandOvertakesBackground) {
  add_files(200'000, 12);
  hold();
  start({{{0, 8192 * 12}, Priority::kBackground}});
  EXPECT_EQ(reads().size(), 4U) << "background leaves slots free";
  std::vector<Result<void>> urgent(2);
  rig.loop.call([&] {
    scope.spawn(ask(rig.pool.get(), segment, {piece(11)}, &urgent[0], &order,
                    100));  // queued as background already
    scope.spawn(ask(rig.pool.get(), segment, {piece(10)}, &urgent[1], &order, 101));
  });
  rig.loop.call([] {});
  const auto seen = reads();
  ASSERT_EQ(seen.size(), 6U) << "two slots are for on-demand reads";
  EXPECT_EQ(seen[4].priority, Priority::kOnDemand);
  EXPECT_EQ(seen[4].range.offset, 200'000U * 12 + 5000U * 11);
  EXPECT_EQ(seen[5].range.offset, 200'000U * 11 + 5000U * 10);
  release();
  finish();
  EXPECT_TRUE(urgent[0].ok() && urgent[1].ok() && answers[0].ok());
  EXPECT_EQ(order.back(), 0U);
  EXPECT_EQ(reads().size(), 12U);
}

// Thousands of small files of one packed gzip member have the same blob offset.
TEST_F(FetcherTest, ManyPiecesOfOneMember) {
  constexpr size_t kFiles = 6500;
  LayerBuilder builder;
  for (size_t i = 0; i < kFiles; ++i) layer.bytes += noise(static_cast<unsigned>(i), 16);
  for (size_t i = 0; i < kFiles; ++i) {
    ASSERT_TRUE(builder.add(regular("f" + std::to_string(i), 16)).ok());
    const std::string content = noise(static_cast<unsigned>(i), 16);
    const Chunk chunk{0, layer.bytes.size(), 16 * i, 16, Codec::kNone, sha256(as_bytes(content))};
    const Extent extent{chunk.digest, 0, 16, 0, 0};
    ASSERT_TRUE(builder.add_extent(extent, {&chunk, 1}).ok());
  }
  layer.finish(builder);
  const auto record = rig.add(layer);
  ASSERT_TRUE(record.ok()) << record.error().to_string();
  segment = record->segment;
  hold();
  start({{{0, 4096 * kFiles}, Priority::kBackground}});
  Result<void> urgent = make_error(Errc::kCancelled, "not asked");
  rig.loop.call([&] {
    scope.spawn(ask(rig.pool.get(), segment, {{4096 * (kFiles - 1), 16}}, &urgent, &order, 1));
  });
  release();
  finish();
  EXPECT_TRUE(urgent.ok());
  EXPECT_TRUE(answers[0].ok());
  EXPECT_EQ(counters().pieces, kFiles);
}

TEST_F(FetcherTest, WrongBytesAreFetchedOnceMore) {
  add_files();
  intervene([](const FakeSource::Read& read, size_t nth) -> std::optional<Result<Bytes>> {
    if (nth > 0) return std::nullopt;
    return Result<Bytes>(Bytes(read.range.length));
  });
  EXPECT_TRUE(rig.ensure(segment, piece(0)).ok());
  EXPECT_EQ(reads().size(), 2U);
  EXPECT_EQ(counters().digest_mismatches, 1U);
  EXPECT_EQ(counters().retries, 1U);
  EXPECT_EQ(counters().failures, 0U);
  EXPECT_EQ(rig.read_file(layer.blob, "f0"), noise(0, 5000));
}

TEST_F(FetcherTest, WrongTwiceIsCorruptionForThatPieceAlone) {
  add_files();
  const std::string bad = layer.bytes.substr(0, 5000) +
                          std::string(1, static_cast<char>(layer.bytes[5000] ^ 1)) +
                          layer.bytes.substr(5001);
  rig.loop.call([&] { rig.source.blobs[layer.blob] = bad; });
  start({{piece(0)}, {piece(1)}, {piece(2)}});
  finish();
  EXPECT_TRUE(answers[0].ok());
  ASSERT_FALSE(answers[1].ok());
  EXPECT_EQ(answers[1].error().code, Errc::kCorruption);
  EXPECT_TRUE(answers[2].ok());
  EXPECT_FALSE(rig.present(segment, piece(1)));
  EXPECT_EQ(counters().digest_mismatches, 2U);
  EXPECT_EQ(counters().failures, 1U);
  rig.loop.call([&] { rig.source.blobs[layer.blob] = layer.bytes; });
  EXPECT_TRUE(rig.ensure(segment, piece(1)).ok()) << "a later call tries again";
}

TEST_F(FetcherTest, AFailedReadIsTriedAgainByTheNextCall) {
  add_files();
  for (const Errc code : {Errc::kUnavailable, Errc::kDenied, Errc::kNotFound, Errc::kIo}) {
    intervene([code](const FakeSource::Read&, size_t) -> std::optional<Result<Bytes>> {
      return Result<Bytes>(make_error(code, "cut short"));
    });
    const auto failed = rig.ensure(segment, piece(0));
    ASSERT_FALSE(failed.ok());
    EXPECT_EQ(failed.error().code, code);
    EXPECT_FALSE(rig.present(segment, piece(0)));
  }
  intervene(nullptr);
  EXPECT_TRUE(rig.ensure(segment, piece(0)).ok());
  EXPECT_EQ(counters().failures, 4U);
}

TEST_F(FetcherTest, AnswerOfAnotherLengthIsNotTrusted) {
  add_files();
  for (const size_t length : {size_t{0}, size_t{4999}, size_t{5001}}) {
    intervene([length](const FakeSource::Read&, size_t) -> std::optional<Result<Bytes>> {
      return Result<Bytes>(Bytes(length));
    });
    EXPECT_FALSE(rig.ensure(segment, piece(0)).ok()) << length;
    EXPECT_FALSE(rig.present(segment, piece(0)));
  }
}

TEST_F(FetcherTest, AnotherLayersBlobServesWhenTheOwnFails) {
  add_files();
  LazyLayer other = LazyLayer::make({{"same", noise(3, 5000)}, {"new", noise(77, 100)}}, 300);
  ASSERT_TRUE(rig.add(other).ok());
  for (const bool corrupt : {false, true}) {
    const size_t wanted = 3;
    const Digest own = layer.blob;
    intervene([own, corrupt](const FakeSource::Read& read, size_t) -> std::optional<Result<Bytes>> {
      if (read.blob != own) return std::nullopt;
      if (corrupt) return Result<Bytes>(Bytes(read.range.length));
      return Result<Bytes>(make_error(Errc::kNotFound, "the registry has deleted it"));
    });
    EXPECT_TRUE(rig.ensure(segment, piece(wanted)).ok());
    EXPECT_EQ(rig.read_file(layer.blob, "f3"), noise(3, 5000));
    const auto without = rig.ensure(segment, piece(1));
    ASSERT_FALSE(without.ok());
    EXPECT_EQ(without.error().code, corrupt ? Errc::kCorruption : Errc::kNotFound);
    rig.loop.call([&] { rig.pool->segment(segment)->set_missing(wanted); });
  }
}

// The same, when the alternate lies as well: its bytes are verified, too.
TEST_F(FetcherTest, AnAlternateIsVerified) {
  add_files();
  LazyLayer other = LazyLayer::make({{"same", noise(3, 5000)}, {"new", noise(77, 100)}});
  ASSERT_TRUE(rig.add(other).ok());
  intervene([](const FakeSource::Read& read, size_t) -> std::optional<Result<Bytes>> {
    return Result<Bytes>(Bytes(read.range.length));
  });
  const auto answer = rig.ensure(segment, piece(3));
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, Errc::kCorruption);
  EXPECT_FALSE(rig.present(segment, piece(3)));
}

TEST_F(FetcherTest, UnknownSegmentAndClosedPool) {
  add_files();
  EXPECT_EQ(rig.ensure(99, {0, 1}).error().code, Errc::kNotFound);
  EXPECT_TRUE(rig.ensure(kZeroSegment, {0, 1u << 20}).ok());
  hold();
  start({{piece(0)}});
  rig.loop.call([&] { rig.source.release(); });
  finish();
  rig.loop.run(rig.pool->close());
  EXPECT_EQ(rig.ensure(segment, piece(1)).error().code, Errc::kCancelled);
  rig.pool.reset();
}

// A layer may go while a background fetch of it is under way: what arrives late must not bring the
// piece back to life.
TEST_F(FetcherTest, APieceRemovedMeanwhileStaysDead) {
  add_files();
  LazyLayer other = LazyLayer::make({{"f1", noise(1, 5000)}}, 300);  // keeps the segment
  ASSERT_TRUE(rig.add(other).ok());
  hold();
  start({{piece(0), Priority::kBackground}});
  ASSERT_TRUE(rig.loop.run(rig.pool->remove_layer(layer.blob)).ok());
  release();
  finish();
  PieceState state = PieceState::kMissing;
  rig.loop.call([&] { state = rig.pool->segment(segment)->state(0); });
  EXPECT_EQ(state, PieceState::kDead);
  EXPECT_TRUE(rig.check().bad.empty());
}

// The limit of the file size stands for a full disk: both make pwrite(2) fail half way.
TEST_F(FetcherTest, AWriteThatFailsIsAnErrorAndIsRepeated) {
  add_files();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tiny{8192 + 100, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tiny), 0);
  const auto fits = rig.ensure(segment, piece(0));
  const auto failed = rig.ensure(segment, piece(1));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_TRUE(fits.ok());
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, Errc::kIo);
  EXPECT_FALSE(rig.present(segment, piece(1)));
  EXPECT_TRUE(rig.ensure(segment, piece(1)).ok());
  EXPECT_EQ(rig.read_file(layer.blob, "f1"), noise(1, 5000));
}

}  // namespace
}  // namespace dedup::test
