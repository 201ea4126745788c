// The order in which chains attach and detach the segments they share, on a door that mounts
// nothing.
#include "image/chains.h"

#include <gtest/gtest.h>

#include <semaphore>

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

TEST(Chains, AMountThatBeginsKeepsTheSegmentsOfOneThatEnds) {
  PoolRig rig;
  rig.open();
  auto layer = LazyLayer::make({{"file", noise(1, 5000)}});
  ASSERT_TRUE(rig.add(layer).ok());
  const auto store = std::move(*ImageStore::open(rig.pool->catalog().database()));
  FakeDoor door;
  Chains chains(rig.loop.ring(), rig.workers, rig.log, *rig.pool, *store, door, nullptr,
                {rig.dir.path(), false, {}, {}});
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

}  // namespace
}  // namespace dedup::test
