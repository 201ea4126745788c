#include "io/sync.h"

#include <gtest/gtest.h>

#include <string>

#include "unit/io/loop_thread.h"

namespace dedup {
namespace {

using test::LoopThread;

Task<void> take(Semaphore& semaphore, uint64_t units, Priority priority, std::string* order,
                char name) {
  const auto permit = co_await semaphore.acquire(units, priority);
  order->push_back(name);
}

Task<std::string> order_of_waiters(Ring& ring) {
  std::string order;
  Semaphore semaphore(ring, 1);
  TaskScope scope;
  {
    const auto permit = co_await semaphore.acquire(1, Priority::kBackground);
    scope.spawn(take(semaphore, 1, Priority::kBackground, &order, 'x'));
    scope.spawn(take(semaphore, 1, Priority::kPrefetch, &order, 'p'));
    scope.spawn(take(semaphore, 1, Priority::kOnDemand, &order, 'a'));
    scope.spawn(take(semaphore, 1, Priority::kOnDemand, &order, 'b'));
    scope.spawn(take(semaphore, 1, Priority::kBackground, &order, 'y'));
  }
  co_await scope.join();
  EXPECT_EQ(semaphore.free_units(), 1U);
  co_return order;
}

TEST(Semaphore, ServesByPriorityThenFirstCome) {
  LoopThread loop;
  EXPECT_EQ(loop.run(order_of_waiters(loop.ring())), "abpxy");
}

Task<std::string> large_before_small(Ring& ring) {
  std::string order;
  Semaphore semaphore(ring, 4);
  TaskScope scope;
  {
    const auto permit = co_await semaphore.acquire(2, Priority::kOnDemand);
    scope.spawn(take(semaphore, 100, Priority::kOnDemand, &order, 'L'));  // asked as all four
    scope.spawn(take(semaphore, 1, Priority::kOnDemand, &order, 's'));
  }
  co_await scope.join();
  co_return order;
}

TEST(Semaphore, SmallRequestsDoNotStarveALargeOne) {
  LoopThread loop;
  EXPECT_EQ(loop.run(large_before_small(loop.ring())), "Ls");
}

Task<void> take_or_give_up(Semaphore& semaphore, CancelToken token, std::string* order) {
  const auto permit = co_await semaphore.acquire(3, Priority::kOnDemand, token);
  order->push_back(permit.held() ? 'H' : 'c');
}

Task<std::string> cancelled_waiter(Ring& ring) {
  std::string order;
  CancelSource cancel;
  Semaphore semaphore(ring, 3);
  TaskScope scope;
  {
    const auto permit = co_await semaphore.acquire(2, Priority::kOnDemand);
    scope.spawn(take_or_give_up(semaphore, cancel.token(), &order));
    scope.spawn(take(semaphore, 1, Priority::kOnDemand, &order, 's'));
    cancel.cancel();
    scope.spawn(take_or_give_up(semaphore, cancel.token(), &order));
    co_await scope.join();  // the small one runs although the first permit is still held
  }
  EXPECT_EQ(semaphore.free_units(), 3U);
  co_return order;
}

TEST(Semaphore, CancelledWaiterLeavesTheQueueToThoseBehind) {
  LoopThread loop;
  EXPECT_EQ(loop.run(cancelled_waiter(loop.ring())), "ccs");
}

Task<void> produce(Channel<int>& channel, int count, int* most_ahead, const int* popped) {
  for (int i = 0; i < count; ++i) {
    EXPECT_TRUE(co_await channel.push(i));
    *most_ahead = std::max(*most_ahead, i + 1 - *popped);
  }
  channel.close();
}

Task<int> consume(Ring& ring, int count, int* most_ahead) {
  int popped = 0;
  Channel<int> channel(ring, 3);
  TaskScope scope;
  scope.spawn(produce(channel, count, most_ahead, &popped));
  for (;;) {
    const auto value = co_await channel.pop();
    if (!value) break;
    EXPECT_EQ(*value, popped);
    ++popped;
  }
  co_await scope.join();
  co_return popped;
}

TEST(Channel, KeepsOrderAndHoldsTheProducerBack) {
  LoopThread loop;
  int most_ahead = 0;
  EXPECT_EQ(loop.run(consume(loop.ring(), 1000, &most_ahead)), 1000);
  EXPECT_LE(most_ahead, 4);  // three queued and the one being popped
}

Task<bool> push_after_close(Ring& ring) {
  Channel<int> channel(ring, 1);
  EXPECT_TRUE(co_await channel.push(7));
  channel.close();
  EXPECT_FALSE(co_await channel.push(8));
  const auto queued = co_await channel.pop();
  const auto after = co_await channel.pop();
  co_return queued == 7 && !after.has_value();
}

TEST(Channel, QueuedItemsSurviveCloseAndLaterOnesAreRefused) {
  LoopThread loop;
  EXPECT_TRUE(loop.run(push_after_close(loop.ring())));
}

Task<void> wait_shot(OneShot<int>& shot, int* sum) {
  *sum += co_await shot.wait();
}

Task<int> one_shot(Ring& ring) {
  OneShot<int> shot(ring);
  int sum = 0;
  TaskScope scope;
  scope.spawn(wait_shot(shot, &sum));
  scope.spawn(wait_shot(shot, &sum));
  EXPECT_FALSE(shot.ready());
  shot.set(5);
  scope.spawn(wait_shot(shot, &sum));
  co_await scope.join();
  co_return sum;
}

TEST(OneShot, EveryWaiterBeforeAndAfterGetsTheValue) {
  LoopThread loop;
  EXPECT_EQ(loop.run(one_shot(loop.ring())), 15);
}

}  // namespace
}  // namespace dedup
