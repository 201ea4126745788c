#include "io/ring.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <atomic>
#include <thread>

#include "unit/io/loop_thread.h"

namespace dedup {
namespace {

using std::chrono::milliseconds;
using test::LoopThread;

struct SocketPair {
  UniqueFd left, right;
  SocketPair() {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0) abort();
    left = UniqueFd(fds[0]);
    right = UniqueFd(fds[1]);
  }
};

Task<void> cancel_later(Ring& ring, CancelSource& cancel) {
  co_await ring.sleep(milliseconds(20));
  cancel.cancel();
}

Task<int> poll_until_cancelled(Ring& ring, int fd) {
  CancelSource cancel;
  TaskScope scope;
  scope.spawn(cancel_later(ring, cancel));
  const int result = co_await ring.poll(fd, POLLIN, cancel.token());
  co_await scope.join();
  co_return result;
}

TEST(Ring, CancelledPollEndsWithItsOwnCompletion) {
  LoopThread loop;
  SocketPair pair;
  EXPECT_EQ(loop.run(poll_until_cancelled(loop.ring(), pair.left.get())), -ECANCELED);
}

Task<int> cancelled_before_start(Ring& ring, int fd) {
  CancelSource cancel;
  cancel.cancel();
  co_return co_await ring.poll(fd, POLLIN, cancel.token());
}

TEST(Ring, OperationOfACancelledTokenNeverStarts) {
  LoopThread loop;
  SocketPair pair;
  EXPECT_EQ(loop.run(cancelled_before_start(loop.ring(), pair.left.get())), -ECANCELED);
}

// The data wins or the cancel wins, but exactly one result arrives and the frame is whole.
Task<int> cancel_races_with_data(Ring& ring, int reader, int writer) {
  std::array<std::byte, 8> buffer{};
  CancelSource cancel;
  TaskScope scope;
  if (::send(writer, "x", 1, 0) != 1) co_return -1;
  scope.spawn([](CancelSource& source) -> Task<void> {
    source.cancel();
    co_return;
  }(cancel));
  const int result = co_await ring.read(reader, buffer, 0, cancel.token());
  co_await scope.join();
  co_return result;
}

TEST(Ring, CancelRacingWithCompletionGivesOneResult) {
  LoopThread loop;
  for (int i = 0; i < 200; ++i) {
    SocketPair pair;
    const int result =
        loop.run(cancel_races_with_data(loop.ring(), pair.left.get(), pair.right.get()));
    EXPECT_TRUE(result == 1 || result == -ECANCELED) << result;
  }
}

Task<std::pair<int, int64_t>> timed_sleep(Ring& ring, milliseconds duration, bool cancelled) {
  CancelSource cancel;
  TaskScope scope;
  if (cancelled) scope.spawn(cancel_later(ring, cancel));
  const auto start = std::chrono::steady_clock::now();
  const int result = co_await ring.sleep(duration, cancel.token());
  const auto waited = std::chrono::steady_clock::now() - start;
  co_await scope.join();
  co_return std::pair(result, std::chrono::duration_cast<milliseconds>(waited).count());
}

TEST(Ring, SleepEndsAfterItsTimeOrWhenCancelled) {
  LoopThread loop;
  const auto [slept, waited_ms] = loop.run(timed_sleep(loop.ring(), milliseconds(30), false));
  EXPECT_EQ(slept, 0);
  EXPECT_GE(waited_ms, 30);
  const auto [stopped, short_ms] = loop.run(timed_sleep(loop.ring(), milliseconds(60'000), true));
  EXPECT_EQ(stopped, -ECANCELED);
  EXPECT_LT(short_ms, 30'000);
}

TEST(Ring, PostsOfManyThreadsAllRunInTheirOrder) {
  LoopThread loop;
  constexpr int kThreads = 4;
  constexpr int kPosts = 5000;
  std::array<int, kThreads> next{};
  bool ordered = true;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPosts; ++i) {
        loop.ring().post([&, t, i] { ordered = ordered && next[size_t(t)]++ == i; });
      }
    });
  }
  for (auto& thread : threads) thread.join();
  loop.call([] {});
  EXPECT_TRUE(ordered);
  for (const int count : next) EXPECT_EQ(count, kPosts);
}

Task<void> count_sleep(Ring& ring, int* done) {
  co_await ring.sleep(milliseconds(1));
  ++*done;
}

Task<int> many_sleeps(Ring& ring, int count) {
  int done = 0;
  TaskScope scope;
  for (int i = 0; i < count; ++i) scope.spawn(count_sleep(ring, &done));
  co_await scope.join();
  co_return done;
}

TEST(Ring, MoreOperationsThanQueueEntriesMayBeInFlight) {
  LoopThread loop;
  EXPECT_EQ(loop.run(many_sleeps(loop.ring(), 5000)), 5000);
}

Task<void> until(Ring& ring, const int* counter, int at_least) {
  for (int i = 0; i < 5000 && *counter < at_least; ++i) co_await ring.sleep(milliseconds(1));
}

TEST(Ring, EdgeWatchRunsForEachReadinessUntilDestroyed) {
  LoopThread loop;
  UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  std::unique_ptr<Ring::Watch> watch;
  int runs = 0;
  loop.call([&] {
    watch = loop.ring().watch(event.get(), POLLIN, [&](short revents) {
      uint64_t value = 0;
      EXPECT_NE(revents & POLLIN, 0);
      EXPECT_EQ(::read(event.get(), &value, sizeof(value)), ssize_t(sizeof(value)));
      ++runs;
    });
  });
  const uint64_t one = 1;
  for (int i = 1; i <= 5; ++i) {
    EXPECT_EQ(::write(event.get(), &one, sizeof(one)), ssize_t(sizeof(one)));
    loop.run(until(loop.ring(), &runs, i));
    loop.call([&] { EXPECT_EQ(runs, i); });
  }
  loop.call([&] { watch.reset(); });
  EXPECT_EQ(::write(event.get(), &one, sizeof(one)), ssize_t(sizeof(one)));
  loop.run(count_sleep(loop.ring(), &runs));
  EXPECT_EQ(runs, 6);  // five readinesses and the sleep
}

TEST(Ring, LevelWatchRunsAgainWhileReady) {
  LoopThread loop;
  UniqueFd event(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
  std::unique_ptr<Ring::Watch> watch;
  int runs = 0;
  loop.call([&] {
    watch = loop.ring().watch(
        event.get(), POLLIN,
        [&](short) {
          if (++runs == 10) watch.reset();  // from inside its own callback
        },
        Ring::Trigger::kLevel);
  });
  loop.run(until(loop.ring(), &runs, 10));
  EXPECT_EQ(runs, 10);
}

TEST(Ring, WatchOfABadDescriptorIsReportedOnce) {
  LoopThread loop;
  std::unique_ptr<Ring::Watch> watch;
  int runs = 0;
  loop.call([&] {
    watch = loop.ring().watch(1'000'000, POLLIN, [&](short revents) {
      EXPECT_EQ(revents, POLLNVAL);
      ++runs;
    });
  });
  loop.run(until(loop.ring(), &runs, 1));
  loop.call([&] { watch.reset(); });
  EXPECT_EQ(runs, 1);
}

TEST(Ring, WatchDestroyedJustBeforeTheLoopStopsIsNotLeaked) {
  UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  LoopThread loop;
  auto watch = std::make_shared<std::unique_ptr<Ring::Watch>>();
  loop.call([&] { *watch = loop.ring().watch(event.get(), POLLIN, [](short) {}); });
  loop.ring().post([watch, &loop] {
    watch->reset();
    loop.ring().stop();
  });
}

}  // namespace
}  // namespace dedup
