// Workers: a fixed pool of threads for CPU work and blocking calls. A job takes its data by value
// (or borrows from the awaiting frame, which stays suspended), runs to its end, and its result is
// posted back to the loop. submit() is for any thread; run() for the loop thread. Urgent jobs go
// before others; none is ever dropped.
#pragma once

#include <array>
#include <condition_variable>
#include <coroutine>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/priority.h"
#include "io/ring.h"

namespace dedup {

class Workers {
 public:
  // ring: where results are delivered; outlives the workers. threads >= 1.
  Workers(Ring& ring, unsigned threads);
  ~Workers();  // runs what is queued, then joins
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  void submit(Priority priority, std::function<void()> job);

  // co_await workers.run(priority, fn): the value of fn(), computed on a worker. Not cancellable.
  // Capture by reference, the frame stays suspended (the rules of task.h).
  template <typename F>
  auto run(Priority priority, F&& function) {
    static_assert(std::is_lvalue_reference_v<F> || std::is_trivially_destructible_v<F>,
                  "g++ 12 destroys this closure twice: capture by reference or name it first");
    return Await<std::remove_cvref_t<F>>{*this, priority, std::forward<F>(function), {}, {}};
  }

 private:
  template <typename F>
  struct Await {
    using R = std::invoke_result_t<F&>;
    using Stored = std::conditional_t<std::is_void_v<R>, bool, R>;
    Workers& workers;
    Priority priority;
    F function;
    std::optional<Stored> result;
    std::coroutine_handle<> waiter;

    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      waiter = handle;
      workers.submit(priority, [this] {
        if constexpr (std::is_void_v<R>) {
          function();
          result.emplace(true);
        } else {
          result.emplace(function());
        }
        workers.x_ring.post([this] { waiter.resume(); });
      });
    }
    R await_resume() {
      if constexpr (!std::is_void_v<R>) return std::move(*result);
    }
  };

  void work();

  Ring& x_ring;
  std::mutex x_mutex;  // protects x_jobs, x_stopping
  std::condition_variable x_wakeup;
  std::array<std::deque<std::function<void()>>, kPriorityCount> x_jobs;
  bool x_stopping = false;
  std::vector<std::thread> x_threads;
};

}  // namespace dedup
