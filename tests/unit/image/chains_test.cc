// The order in which chains attach and detach the segments they share, on a door that mounts
// nothing.
#include "image/chains.h"

#include <gtest/gtest.h>

#include <semaphore>
#include <thread>

#include "unit/pool/pool_rig.h"

namespace dedup::test {
namespace {

class FakeDoor final : public Door {
 public:
  const char* name() const override { return "fake"; }
  bool fails_closed() const override { return false; }
  bool serves_complete() const override { return true; }
  Result<void> attach(uint32_t segment, int, const std::string&) override {
    segments.insert(segment);
    return {};
  }
  Result<void> detach(uint32_t segment) override {
    segments.erase(segment);
    return {};
  }
  void start() override {}
  Result<void> mount(const DoorMount&) override {
    entered.release();
    go_on.acquire();
    return {};
  }
  Task<Result<void>> probe(std::string, uint64_t, uint32_t, uint64_t) override {
    co_return Result<void>();
  }
  Task<void> stop() override { co_return; }
  const DoorCounters& counters() const override { return x_counters; }
  size_t attached() const override { return segments.size(); }

  std::set<uint32_t> segments;           // loop thread
  std::counting_semaphore<> entered{0};  // mount() has begun
  std::counting_semaphore<> go_on{0};    // and may end

 private:
  DoorCounters x_counters;
};

Task<void> keep_outcome(Task<Result<std::string>> mount, Result<std::string>& outcome) {
  outcome = co_await std::move(mount);
}

ChainOptions kept_idle_for(const PoolRig& rig, std::chrono::milliseconds time) {
  ChainOptions options;
  options.directory = rig.dir.path();
  options.keep_idle = time;
  return options;
}

TEST(Chains, AMountThatBeginsKeepsTheSegmentsOfOneThatEnds) {
  PoolRig rig;
  rig.open();
  auto layer = LazyLayer::make({{"file", noise(1, 5000)}});
  ASSERT_TRUE(rig.add(layer).ok());
  const auto store = std::move(*ImageStore::open(rig.pool->catalog().database()));
  FakeDoor door;
  Chains chains(rig.loop.ring(), rig.workers, rig.log, *rig.pool, *store, door, nullptr,
                kept_idle_for(rig, std::chrono::hours(0)));
  rig.loop.call([&] { ASSERT_TRUE(chains.recover(true).ok()); });

  door.go_on.release();
  ASSERT_TRUE(rig.loop.run(chains.mount({layer.blob}, false)).ok());
  door.entered.acquire();
  std::set<uint32_t> attached;
  rig.loop.call([&] { attached = door.segments; });
  ASSERT_FALSE(attached.empty());

  // Another chain of the same layer is being mounted while the first, which nobody holds, ends.
  TaskScope scope;
  Result<std::string> second = make_error(Errc::kCancelled, "has not ended");
  rig.loop.call([&] { scope.spawn(keep_outcome(chains.mount({layer.blob}, true), second)); });
  door.entered.acquire();
  rig.loop.run(chains.collect());
  rig.loop.call([&] {
    EXPECT_EQ(chains.mounted(), 0u);
    EXPECT_EQ(door.segments, attached);
  });
  door.go_on.release();
  while (true) {
    size_t running = 0;
    rig.loop.call([&] { running = scope.running(); });
    if (running == 0) break;
  }
  EXPECT_TRUE(second.ok());
  rig.loop.call([&] { EXPECT_EQ(door.segments, attached); });
  rig.loop.run(chains.close(std::chrono::milliseconds(0)));
  rig.loop.call([&] { EXPECT_TRUE(door.segments.empty()); });
}

TEST(Chains, AnImageStaysMountedForAWhileAfterItsLastUser) {
  PoolRig rig;
  rig.open();
  auto layer = LazyLayer::make({{"file", noise(1, 5000)}});
  ASSERT_TRUE(rig.add(layer).ok());
  const auto store = std::move(*ImageStore::open(rig.pool->catalog().database()));
  FakeDoor door;
  door.go_on.release();
  int used = 0, idle = 0;
  ChainOptions options = kept_idle_for(rig, std::chrono::hours(1));
  options.on_used = [&used](const ChainRecord&) { ++used; };
  options.on_idle = [&idle](const ChainRecord&) { ++idle; };
  Chains chains(rig.loop.ring(), rig.workers, rig.log, *rig.pool, *store, door, nullptr, options);
  rig.loop.call([&] { ASSERT_TRUE(chains.recover(true).ok()); });
  const auto collect = [&] {
    rig.loop.run(chains.collect());
    size_t mounted = 0;
    rig.loop.call([&] { mounted = chains.mounted(); });
    return mounted;
  };
  ASSERT_TRUE(store->hold_layer("image", layer.blob).ok());

  // During the pull, for a container that may come.
  ASSERT_TRUE(rig.loop.run(chains.mount({layer.blob}, false, Chains::Purpose::kAhead)).ok());
  EXPECT_EQ(collect(), 1u);
  EXPECT_EQ(used, 0);
  EXPECT_EQ(idle, 0);

  ASSERT_TRUE(store->hold_chain("container", Chains::id_of({layer.blob}, false)).ok());
  ASSERT_TRUE(rig.loop.run(chains.mount({layer.blob}, false)).ok());
  ASSERT_TRUE(rig.loop.run(chains.mount({layer.blob}, false)).ok());
  EXPECT_EQ(collect(), 1u);
  EXPECT_EQ(used, 1);
  EXPECT_EQ(idle, 0);

  ASSERT_TRUE(store->release("container").ok());
  EXPECT_EQ(collect(), 1u);
  EXPECT_EQ(collect(), 1u);
  EXPECT_EQ(idle, 1);

  // Its layers are to be removed: they must not wait for the mount.
  ASSERT_TRUE(store->release("image").ok());
  EXPECT_EQ(collect(), 0u);
}

TEST(Chains, OfTooManyUnusedMountsTheOldestEnd) {
  PoolRig rig;
  rig.open();
  const auto store = std::move(*ImageStore::open(rig.pool->catalog().database()));
  FakeDoor door;
  door.go_on.release(3);
  ChainOptions options = kept_idle_for(rig, std::chrono::hours(1));
  options.max_idle = 2;
  Chains chains(rig.loop.ring(), rig.workers, rig.log, *rig.pool, *store, door, nullptr, options);
  rig.loop.call([&] { ASSERT_TRUE(chains.recover(true).ok()); });
  std::vector<Digest> mounted;
  for (unsigned i = 0; i < 3; ++i) {
    auto layer = LazyLayer::make({{"file", noise(i, 5000)}});
    ASSERT_TRUE(rig.add(layer).ok());
    ASSERT_TRUE(store->hold_layer("image", layer.blob).ok());
    ASSERT_TRUE(rig.loop.run(chains.mount({layer.blob}, false)).ok());
    rig.loop.run(chains.collect());
    mounted.push_back(Chains::id_of({layer.blob}, false));
  }
  std::set<Digest> left;
  rig.loop.call([&] {
    for (const ChainStatus& chain : chains.status()) left.insert(chain.record.id);
  });
  EXPECT_EQ(left, (std::set<Digest>{mounted[1], mounted[2]}));
}

TEST(Chains, AMountThatNobodyUsesEnds) {
  PoolRig rig;
  rig.open();
  auto layer = LazyLayer::make({{"file", noise(1, 5000)}});
  ASSERT_TRUE(rig.add(layer).ok());
  const auto store = std::move(*ImageStore::open(rig.pool->catalog().database()));
  FakeDoor door;
  door.go_on.release();
  constexpr std::chrono::milliseconds kShort(100);
  Chains chains(rig.loop.ring(), rig.workers, rig.log, *rig.pool, *store, door, nullptr,
                kept_idle_for(rig, kShort));
  rig.loop.call([&] { ASSERT_TRUE(chains.recover(true).ok()); });
  ASSERT_TRUE(store->hold_layer("image", layer.blob).ok());
  ASSERT_TRUE(rig.loop.run(chains.mount({layer.blob}, false)).ok());
  rig.loop.run(chains.collect());
  std::this_thread::sleep_for(2 * kShort);
  rig.loop.run(chains.collect());
  rig.loop.call([&] { EXPECT_EQ(chains.mounted(), 0u); });
}

}  // namespace
}  // namespace dedup::test
