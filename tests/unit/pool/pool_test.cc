#include <gmock/gmock.h>
#include <sys/resource.h>
#include <unistd.h>

#include <future>

#include "pool/files.h"
#include "unit/pool/pool_rig.h"

namespace dedup::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PoolTest : public ::testing::Test {
 protected:
  void SetUp() override { rig.open(); }

  void flip(SegmentId segment, uint64_t offset) {
    const UniqueFd fd(
        ::open(Segment::data_path(rig.segments(), segment).c_str(), O_RDWR | O_CLOEXEC));
    std::byte byte{};
    ASSERT_TRUE(dedup::read_exactly(fd.get(), {&byte, 1}, offset, "segment").ok());
    byte ^= std::byte{1};
    ASSERT_TRUE(write_exactly(fd.get(), {&byte, 1}, offset, "segment").ok());
  }
  std::string states(SegmentId segment) {
    char name[32];
    std::snprintf(name, sizeof(name), "/%08u.state", segment);
    const auto bytes = dedup::read_file(rig.segments() + name, 1 << 20);
    return bytes.ok() ? std::string(as_text(*bytes)) : "none";
  }
  // Numbers of the pieces that a streaming pass that begins now would take for missing.
  std::vector<size_t> missing_of(SegmentId segment) {
    std::shared_ptr<const Pool::MissingMap> missing;
    rig.loop.call([&] { missing = rig.pool->missing(); });
    std::vector<size_t> pieces;
    if (!missing->contains(segment)) return pieces;
    const auto& states = missing->at(segment).states;
    for (size_t i = 0; i < states.size(); ++i) {
      if (states[i] == PieceState::kMissing) pieces.push_back(i);
    }
    return pieces;
  }
  Result<uint64_t> remove(Digest layer) { return rig.loop.run(rig.pool->remove_layer(layer)); }
  std::vector<NamedFile> files(unsigned first, unsigned last) {
    std::vector<NamedFile> made;
    for (unsigned i = first; i < last; ++i)
      made.emplace_back("f" + std::to_string(i), noise(i, 5000));
    return made;
  }

  PoolRig rig;
};

TEST_F(PoolTest, PresenceSurvivesADeathOnlyAfterAFlush) {
  LazyLayer layer = LazyLayer::make(files(0, 3));
  const SegmentId segment = rig.add(layer)->segment;
  ASSERT_TRUE(rig.ensure(segment, {0, 1}).ok());
  ASSERT_TRUE(rig.loop.run(rig.pool->flush()).ok());
  EXPECT_EQ(states(segment), std::string("\1\0\0", 3));
  rig.reopen_after_death();
  EXPECT_EQ(rig.read_file(layer.blob, "f0"), noise(0, 5000));
  EXPECT_EQ(rig.read_file(layer.blob, "f1"), std::nullopt);
  ASSERT_TRUE(rig.ensure(segment, {8192, 1}).ok());
  rig.reopen();
  EXPECT_EQ(rig.read_file(layer.blob, "f1"), noise(1, 5000)) << "close flushes";
}

// Two flushes at once: the second must not report what the first has not yet written.
TEST_F(PoolTest, AFlushWaitsForTheOneUnderWay) {
  PoolRig one(1);
  one.open();
  LazyLayer layer = LazyLayer::make(files(0, 3));
  const SegmentId segment = one.add(layer)->segment;
  ASSERT_TRUE(one.ensure(segment, {0, 20000}).ok());
  std::promise<void> blocker;
  const auto unblocked = blocker.get_future().share();
  one.workers.submit(Priority::kOnDemand, [unblocked] { unblocked.wait(); });
  TaskScope scope;
  std::vector<Result<void>> outcomes(2);
  bool second_ended = false;
  const auto flush = [](Pool* pool, Result<void>* outcome, bool* ended) -> Task<void> {
    *outcome = co_await pool->flush();
    *ended = true;
  };
  bool first_ended = false;
  one.loop.call([&] {
    one.pool->segment(segment)->set_missing(0);
    scope.spawn(flush(one.pool.get(), &outcomes[0], &first_ended));
    scope.spawn(flush(one.pool.get(), &outcomes[1], &second_ended));
  });
  bool too_early = false;
  one.loop.call([&] { too_early = second_ended; });
  blocker.set_value();
  one.loop.run([](TaskScope* all) -> Task<void> { co_await all->join(); }(&scope));
  EXPECT_FALSE(too_early);
  EXPECT_TRUE(outcomes[0].ok() && outcomes[1].ok());
}

TEST_F(PoolTest, TellsWhenASegmentIsComplete) {
  LazyLayer layer = LazyLayer::make(files(0, 3));
  const SegmentId segment = rig.add(layer)->segment;
  std::promise<std::string> told;
  rig.loop.call([&] {
    rig.pool->on_complete(
        [&](const std::shared_ptr<Segment>& done) { told.set_value(states(done->id())); });
  });
  ASSERT_TRUE(rig.ensure(segment, {0, 30000}).ok());
  auto future = told.get_future();
  ASSERT_EQ(future.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_EQ(future.get(), std::string(3, '\1')) << "its states are durable before";
}

TEST_F(PoolTest, FilesNoRowNamesAreSwept) {
  const auto kept = rig.stream(files(0, 2), PoolRig::record_of("kept"));
  ASSERT_TRUE(kept.ok());
  const auto segments_before = PoolRig::names_in(rig.segments());
  const auto layers_before = PoolRig::names_in(rig.layers());
  // Where a commit can die: data written; table and states, too; the index file; half a durable
  // write.
  auto writer =
      LayerWriter::open(rig.pool->catalog(), rig.options.directory, rig.pool->new_segment(),
                        rig.pool->missing(), rig.options.chunk_bytes, {});
  ASSERT_TRUE(write_files(**writer, files(10, 12)).ok());
  ASSERT_TRUE(Segment::create(rig.segments(), {50, {}, 0, 4096}, {}, {}).ok());
  ASSERT_TRUE(
      write_file_durably(layer_index_path(rig.options.directory, sha256({})), as_bytes("x")).ok());
  ASSERT_TRUE(write_file_durably(rig.layers() + "/half.index.new", as_bytes("x")).ok());
  ASSERT_TRUE(write_file_durably(rig.segments() + "/00000051.table.new", as_bytes("x")).ok());
  EXPECT_EQ(PoolRig::names_in(rig.segments()).size(), segments_before.size() + 5);
  rig.reopen_after_death();
  EXPECT_EQ(PoolRig::names_in(rig.segments()), segments_before);
  EXPECT_EQ(PoolRig::names_in(rig.layers()), layers_before);
  EXPECT_EQ(rig.read_file(kept->digest, "f1"), noise(1, 5000));
}

TEST_F(PoolTest, ADamagedSegmentCostsOnlyItsLayers) {
  LazyLayer bad = LazyLayer::make(files(0, 2));
  LazyLayer good = LazyLayer::make(files(2, 4));
  const SegmentId lost = rig.add(bad)->segment;
  const SegmentId kept = rig.add(good)->segment;
  ASSERT_TRUE(rig.ensure(lost, {0, 1}).ok());
  rig.close();
  for (const char* suffix : {"table", "state", "data"}) {
    char name[32];
    std::snprintf(name, sizeof(name), "/%08u.%s", lost, suffix);
    std::filesystem::rename(rig.segments() + name, rig.dir / "away");
    rig.open();
    EXPECT_EQ(rig.pool->segment(lost), nullptr);
    EXPECT_EQ(rig.pool->lost(lost).value_or(-2) >= 0, std::string_view(suffix) != "data");
    EXPECT_EQ(rig.pool->lost(kept), std::nullopt);
    EXPECT_FALSE(rig.present(lost, {0, 1}));
    EXPECT_EQ(rig.ensure(lost, {0, 1}).error().code, Errc::kNotFound);
    EXPECT_TRUE(rig.ensure(kept, {0, 20000}).ok());
    const CheckReport report = rig.check(true);
    ASSERT_EQ(report.bad.size(), 2u);
    EXPECT_EQ(report.bad[0].segment, lost);
    rig.close();
    std::filesystem::rename(rig.dir / "away", rig.segments() + name);
  }
  ASSERT_TRUE(write_file_durably(rig.segments() + "/00000001.table", as_bytes("x")).ok());
  rig.open();
  ASSERT_TRUE(remove(bad.blob).ok());
  EXPECT_EQ(rig.pool->lost(lost), std::nullopt);
  EXPECT_TRUE(rig.check().bad.empty());
  const SegmentId again = rig.add(bad)->segment;
  ASSERT_TRUE(rig.ensure(again, {0, 20000}).ok());
  EXPECT_EQ(rig.read_file(bad.blob, "f0"), noise(0, 5000));
}

// A node that is short of descriptors must not give up what is on its disk.
TEST_F(PoolTest, AShortageOfDescriptorsLosesNoSegment) {
  LazyLayer layer = LazyLayer::make(files(0, 2));
  const SegmentId id = rig.add(layer)->segment;
  rig.close();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  unsigned refused = 0;
  for (rlim_t limit = 3; rig.pool == nullptr && limit < before.rlim_cur; ++limit) {
    const rlimit tight{limit, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
    auto opened = Pool::open(rig.loop.ring(), rig.workers, rig.log, rig.source, rig.options);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    if (opened.ok())
      rig.pool = std::move(*opened);
    else
      ++refused;
  }
  EXPECT_GT(refused, 3u);
  ASSERT_NE(rig.pool, nullptr);
  EXPECT_EQ(rig.pool->lost(id), std::nullopt);
  EXPECT_NE(rig.pool->segment(id), nullptr);
}

TEST_F(PoolTest, ARemovalThatDiedIsFinishedAtOpen) {
  const auto one = rig.stream(files(0, 4), PoolRig::record_of("one"));
  const auto two = rig.stream(files(3, 6), PoolRig::record_of("two"));
  ASSERT_TRUE(two.ok());
  ASSERT_TRUE(
      rig.pool->catalog().remove_layer(one->digest).ok());  // and nothing of what follows it
  ASSERT_TRUE(rig.pool->catalog().remove_layer(PoolRig::record_of("none").digest).ok());
  rig.reopen_after_death();
  EXPECT_TRUE(rig.pool->catalog().dead_slots()->empty());
  EXPECT_EQ(states(one->segment), std::string("\2\2\2\1"));
  EXPECT_EQ(rig.read_file(two->digest, "f3"), noise(3, 5000));
  struct stat status {};
  ASSERT_EQ(::stat(Segment::data_path(rig.segments(), one->segment).c_str(), &status), 0);
  EXPECT_EQ(status.st_size, 4 * 8192);
  EXPECT_LE(status.st_blocks * 512, 8192) << "punched";
  EXPECT_EQ(PoolRig::names_in(rig.layers()).size(), 1U);
  ASSERT_TRUE(rig.pool->catalog().remove_layer(two->digest).ok());
  rig.reopen_after_death();
  EXPECT_THAT(PoolRig::names_in(rig.segments()), ElementsAre("00000000.data"));
  EXPECT_THAT(PoolRig::names_in(rig.layers()), IsEmpty());
}

TEST_F(PoolTest, RemovalLeavesWhatOthersUse) {
  const auto one = rig.stream(files(0, 4), PoolRig::record_of("one"));
  const auto two = rig.stream(files(3, 6), PoolRig::record_of("two"));
  ASSERT_TRUE(two.ok());
  const auto freed = remove(one->digest);
  ASSERT_TRUE(freed.ok());
  EXPECT_EQ(*freed, 15000U);
  EXPECT_EQ(rig.read_file(two->digest, "f3"), noise(3, 5000));
  EXPECT_EQ(rig.read_file(two->digest, "f5"), noise(5, 5000));
  EXPECT_EQ(rig.present_bytes(), 15000U);
  EXPECT_TRUE(rig.check().bad.empty());
  EXPECT_EQ(*remove(two->digest), 15000U);
  EXPECT_THAT(PoolRig::names_in(rig.segments()), ElementsAre("00000000.data"));
  EXPECT_THAT(PoolRig::names_in(rig.layers()), IsEmpty());
  EXPECT_EQ(*remove(two->digest), 0U);
  const auto again = rig.stream(files(0, 4), PoolRig::record_of("one"));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(rig.read_file(again->digest, "f0"), noise(0, 5000));
}

TEST_F(PoolTest, CheckFindsAFlippedByteAndRepairFetchesItAgain) {
  LazyLayer layer = LazyLayer::make(files(0, 4));
  const SegmentId segment = rig.add(layer)->segment;
  ASSERT_TRUE(rig.ensure(segment, {0, 3 * 8192}).ok());
  EXPECT_EQ(rig.check().checked_bytes, 15000U);
  EXPECT_EQ(rig.check().missing_bytes, 5000U);
  flip(segment, 8192 + 4999);
  auto report = rig.check();
  ASSERT_EQ(report.bad.size(), 1U);
  EXPECT_EQ(report.bad[0].digest, sha256(as_bytes(noise(1, 5000))));
  EXPECT_EQ(report.bad[0].segment, segment);
  EXPECT_EQ(report.bad[0].offset, 8192U);
  EXPECT_TRUE(rig.present(segment, {8192, 1})) << "check alone changes nothing";
  EXPECT_EQ(rig.check(true).bad.size(), 1U);
  EXPECT_FALSE(rig.present(segment, {8192, 1}));
  ASSERT_TRUE(rig.loop.run(rig.pool->flush()).ok());
  rig.reopen_after_death();
  EXPECT_EQ(rig.read_file(layer.blob, "f1"), std::nullopt) << "the damage is remembered";
  ASSERT_TRUE(rig.ensure(segment, {8192, 1}).ok());
  EXPECT_TRUE(rig.check().bad.empty());
  EXPECT_EQ(rig.read_file(layer.blob, "f1"), noise(1, 5000));
}

TEST_F(PoolTest, DamageOfAStreamedLayerNeedsAnotherPass) {
  const auto record = rig.stream(files(0, 2), PoolRig::record_of("one"));
  flip(record->segment, 10);
  EXPECT_EQ(rig.check(true).bad.size(), 1U);
  const auto refused = rig.ensure(record->segment, {0, 1});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kNotFound);
  const auto placed = *rig.loop.run(rig.pool->load_layer(record->digest));
  bool fillable = true;
  rig.loop.call([&] { fillable = rig.pool->can_fill(placed); });
  EXPECT_FALSE(fillable);
  // Any layer that brings the same bytes heals it.
  ASSERT_TRUE(rig.stream({{"other", noise(0, 5000)}}, PoolRig::record_of("two")).ok());
  EXPECT_EQ(rig.read_file(record->digest, "f0"), noise(0, 5000));
  EXPECT_TRUE(rig.check().bad.empty());
}

TEST_F(PoolTest, AStreamFillsMissingPiecesOfLazyLayers) {
  LazyLayer layer = LazyLayer::make(files(0, 4));
  const SegmentId segment = rig.add(layer)->segment;
  EXPECT_EQ(missing_of(segment), (std::vector<size_t>{0, 1, 2, 3}));
  ASSERT_TRUE(rig.stream({{"x", noise(1, 5000)}, {"y", noise(3, 5000)}, {"z", noise(9, 10)}},
                         PoolRig::record_of("two"))
                  .ok());
  EXPECT_EQ(rig.read_file(layer.blob, "f1"), noise(1, 5000));
  EXPECT_EQ(rig.read_file(layer.blob, "f3"), noise(3, 5000));
  EXPECT_EQ(rig.read_file(layer.blob, "f0"), std::nullopt);
  EXPECT_EQ(rig.reads(), 0U);
  EXPECT_EQ(missing_of(segment), (std::vector<size_t>{0, 2}));
  ASSERT_TRUE(rig.ensure(segment, {0, 5 * 8192}).ok());
  EXPECT_TRUE(rig.pool->missing()->empty());
  EXPECT_TRUE(rig.check().bad.empty());
}

TEST_F(PoolTest, RefusesNewLayersWhenSpaceIsShort) {
  ASSERT_TRUE(rig.stream(files(0, 2), PoolRig::record_of("one")).ok());
  const auto before = PoolRig::names_in(rig.segments());
  rig.close();
  for (const bool by_pool : {true, false}) {
    rig.options.max_bytes = by_pool ? 10000 : 0;
    rig.options.min_free_bytes = by_pool ? 0 : uint64_t{1} << 60;
    rig.reopen();
    const auto refused = rig.stream(files(5, 7), PoolRig::record_of("two"));
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Errc::kNoSpace);
    EXPECT_NE(
        refused.error().context.find(by_pool ? "limits.max_pool_bytes" : "limits.min_free_bytes"),
        std::string::npos);
    EXPECT_EQ(PoolRig::names_in(rig.segments()), before)
        << "what the pass wrote does not stay on a full disk";
  }
}

TEST_F(PoolTest, TotalsAddUp) {
  ASSERT_TRUE(rig.stream(files(0, 3), PoolRig::record_of("one")).ok());
  LazyLayer layer = LazyLayer::make(files(2, 6));
  ASSERT_TRUE(rig.add(layer).ok());
  const auto totals = *rig.loop.run(rig.pool->totals());
  EXPECT_EQ(totals.catalog.chunks, 6U);
  EXPECT_EQ(totals.catalog.bytes, 30000U);
  EXPECT_EQ(totals.catalog.shared_bytes, 5000U);
  EXPECT_EQ(totals.present_bytes, 15000U);
  EXPECT_EQ(totals.complete_segments, 1U);
  EXPECT_GE(totals.disk_bytes, 15000U);
  const auto placed = *rig.loop.run(rig.pool->load_layer(layer.blob));
  uint64_t present = 0;
  rig.loop.call([&] { present = rig.pool->present_bytes(placed); });
  EXPECT_EQ(present, 5000U);
}

// A keeper's file belongs to the segment that was open when the worker died, not to whoever gets
// its number next.
TEST_F(PoolTest, AKeptFileServesOnlySegmentsThatWereThere) {
  rig.close();
  const std::string stale = rig.dir / "stale";
  const UniqueFd kept(::open(stale.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::ftruncate(kept.get(), 1 << 20), 0);
  for (SegmentId id = 1; id < 5; ++id) rig.options.kept_fds[id] = kept.get();
  rig.open();
  LazyLayer layer = LazyLayer::make(files(0, 1));
  const SegmentId segment = rig.add(layer)->segment;
  ASSERT_TRUE(rig.ensure(segment, {0, 1}).ok());
  EXPECT_TRUE(rig.read_file(layer.blob, "f0") == noise(0, 5000));
}

}  // namespace
}  // namespace dedup::test
