#include "io/task.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/result.h"
#include "io/workers.h"
#include "unit/io/loop_thread.h"

namespace dedup {
namespace {

using test::LoopThread;

Task<int> number(int value) {
  co_return value;
}

Task<long> sum_to(int count) {
  long sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await number(1);
  co_return sum;
}

// With nested resumption a million frames would not fit the stack.
TEST(Task, LoopOverTasksThatNeverSuspendNeedsNoStack) {
  LoopThread loop;
  EXPECT_EQ(loop.run(sum_to(1'000'000)), 1'000'000);
}

TEST(Task, IsLazyAndMayBeDropped) {
  bool ran = false;
  {
    auto task = [](bool* flag) -> Task<void> {
      *flag = true;
      co_return;
    }(&ran);
  }
  EXPECT_FALSE(ran);
}

Task<Result<int>> failing() {
  co_return make_error(Errc::kNotFound, "nothing here");
}

Task<Result<std::string>> passes_on() {
  CO_TRY(value, co_await failing());
  co_return std::to_string(value);
}

TEST(Task, CoTryReturnsTheError) {
  LoopThread loop;
  const auto result = loop.run(passes_on());
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Errc::kNotFound);
}

Task<void> hold(Ring& ring, std::shared_ptr<int> value) {
  co_await ring.sleep(std::chrono::milliseconds(5));
  ++*value;
}

Task<long> owners_after_join(Ring& ring) {
  auto value = std::make_shared<int>(0);
  TaskScope scope;
  for (int i = 0; i < 10; ++i) scope.spawn(hold(ring, value));
  co_await scope.join();
  co_return value.use_count() * 100 + *value;
}

TEST(TaskScope, JoinComesAfterTheLastTaskGaveUpItsParameters) {
  LoopThread loop;
  EXPECT_EQ(loop.run(owners_after_join(loop.ring())), 110);
}

TEST(TaskScope, JoinOfAnEmptyScopeDoesNotWait) {
  LoopThread loop;
  loop.run([]() -> Task<void> {
    TaskScope scope;
    co_await scope.join();
  }());
}

TEST(BlockOn, ReturnsAfterTheTaskGaveUpItsParameters) {
  LoopThread loop;
  auto value = std::make_shared<int>(0);
  for (int i = 0; i < 50; ++i) {
    loop.run(hold(loop.ring(), value));
    EXPECT_EQ(value.use_count(), 1);
  }
}

Task<std::thread::id> thread_of_worker(Workers& workers) {
  co_return co_await workers.run(Priority::kOnDemand, [] { return std::this_thread::get_id(); });
}

TEST(Workers, RunElsewhereAndResumeOnTheLoop) {
  LoopThread loop;
  Workers workers(loop.ring(), 2);
  std::thread::id loop_id;
  loop.call([&] { loop_id = std::this_thread::get_id(); });
  EXPECT_NE(loop.run(thread_of_worker(workers)), loop_id);
}

TEST(Workers, UrgentJobsGoFirstAndNoneIsDropped) {
  LoopThread loop;
  std::vector<int> order;
  std::promise<void> gate;
  {
    Workers workers(loop.ring(), 1);
    workers.submit(Priority::kOnDemand, [&] { gate.get_future().wait(); });
    workers.submit(Priority::kBackground, [&] { order.push_back(3); });
    workers.submit(Priority::kPrefetch, [&] { order.push_back(2); });
    workers.submit(Priority::kOnDemand, [&] { order.push_back(1); });
    gate.set_value();
  }
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

}  // namespace
}  // namespace dedup
