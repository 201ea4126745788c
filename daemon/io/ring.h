// Ring: the event loop. One io_uring, one thread that calls run(); that thread owns all mutable
// state of doors, fetcher and sources, so none of it has locks. Every member is for the loop thread
// unless it says "any thread".
//
// The awaitable in the coroutine frame is the record the completion points at, so a frame with an
// operation in flight is never destroyed: cancelling submits ASYNC_CANCEL and still awaits the
// original completion.
#pragma once

#include <liburing.h>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "io/cancel.h"
#include "io/task.h"

namespace dedup {

// What a completion queue entry's user_data points at.
class Completion {
 public:
  virtual void complete(int result, uint32_t cqe_flags) noexcept = 0;

 protected:
  ~Completion() = default;
};

class Ring {
 public:
  // entries: submission queue size; it is flushed when full, so any number of operations may be in
  // flight.
  static Result<std::unique_ptr<Ring>> open(unsigned entries = 256);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // Runs completions and posted functions until stop(). The calling thread becomes the loop thread.
  void run();
  void stop();                              // any thread
  void post(std::function<void()> action);  // any thread: run `action` on the loop thread, in order
  bool on_loop_thread() const {
    return x_thread.load(std::memory_order_relaxed) == std::this_thread::get_id();
  }

  class Operation;

  // Results are those of the system call: >= 0, or -errno; -ECANCELED after the token was
  // cancelled.
  Operation read(int fd, std::span<std::byte> buffer, uint64_t offset, CancelToken token = {});
  Operation write(int fd, std::span<const std::byte> buffer, uint64_t offset,
                  CancelToken token = {});
  Operation fdatasync(int fd, CancelToken token = {});
  Operation poll(int fd, short events, CancelToken token = {});  // one shot; result = revents
  // Ends after `duration`: result 0, or -ECANCELED.
  Operation sleep(std::chrono::nanoseconds duration, CancelToken token = {});

  // Watches `fd` until the watch is destroyed, which must be before the ring is;
  // `on_ready(revents)` may destroy it.
  //   kEdge   runs when the fd becomes ready (multishot poll, re-armed when the kernel ends it):
  //   the
  //           callback reads until EAGAIN, what it leaves is not announced again.
  //   kLevel  runs again and again while the fd is ready.
  // A poll the kernel refuses is reported once as POLLNVAL.
  class Watch;
  enum class Trigger : uint8_t { kEdge, kLevel };
  std::unique_ptr<Watch> watch(int fd, short events, std::function<void(short revents)> on_ready,
                               Trigger trigger = Trigger::kEdge);

  // Queues one operation: `prepare(sqe)` fills a free entry (the queue is flushed when full), its
  // completion goes to `completion` (null: nobody cares).
  template <typename Prepare>
  void submit(Completion* completion, Prepare prepare) {
    io_uring_sqe* sqe = free_entry();
    prepare(sqe);
    io_uring_sqe_set_data(sqe, completion);
  }
  // Asks the kernel to end the operation of `completion`; its own completion still arrives.
  void cancel(Completion* completion);

 private:
  Ring() = default;
  io_uring_sqe* free_entry();
  void drain_posted();
  void arm_wakeup();
  void dispatch_completions();

  struct Wakeup;
  io_uring x_ring{};
  bool x_ring_ready = false;
  UniqueFd x_wakeup_fd;
  std::unique_ptr<Wakeup> x_wakeup;
  std::atomic<std::thread::id> x_thread{};
  std::atomic<bool> x_stop{false};
  std::mutex x_mutex;  // protects x_posted
  std::vector<std::function<void()>> x_posted;
  std::unordered_set<Completion*> x_watches;  // Watch::State, owned: they outlive their Watch
};

class Ring::Operation final : public Completion, private CancelHook {
 public:
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiter);
  int await_resume() noexcept { return x_result; }
  void complete(int result, uint32_t cqe_flags) noexcept override;

  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

 private:
  friend class Ring;
  enum class Kind : uint8_t { kRead, kWrite, kFdatasync, kPoll, kSleep };
  struct Request {
    Kind kind;
    int fd = -1;
    void* buffer = nullptr;
    size_t buffer_bytes = 0;
    uint64_t offset = 0;
    short events = 0;
    __kernel_timespec duration{};
  };
  Operation(Ring& ring, Request request, CancelToken token)
      : x_ring(ring), x_request(request), x_token(token) {}
  void fill(io_uring_sqe* sqe);
  void on_cancel() override { x_ring.cancel(this); }

  Ring& x_ring;
  Request x_request;
  CancelToken x_token;
  int x_result = 0;
  std::coroutine_handle<> x_waiter;
};

class Ring::Watch {
 public:
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  friend class Ring;
  struct State;
  explicit Watch(State* state) : x_state(state) {}
  State* x_state;
};

// Runs `task` on the loop from any OTHER thread and waits for its value. Must not be called on the
// loop thread.
template <typename T>
T block_on(Ring& ring, Task<T> task);

}  // namespace dedup

#include "io/block_on.h"
