// Task<T>: a lazily started C++20 coroutine that is awaited exactly once. TaskScope: the owner of
// tasks that run beside their starter; there are no detached tasks. Both live on the loop thread.
//
// Rules: parameters by value (a reference parameter must outlive the full co_await expression); no
// capturing coroutine lambdas; no lock held across co_await; an exception leaving a coroutine
// terminates the process. No temporary closure or braced aggregate with members that own something
// (string, vector, shared_ptr) inside a co_await expression: g++ 12 copies it bit by bit into the
// frame and destroys it twice. Name it first, or capture by reference.
#pragma once

#include <cassert>
#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace dedup {

template <typename T = void>
class [[nodiscard]] Task;

namespace task_detail {

struct PromiseBase {
  std::coroutine_handle<> continuation = std::noop_coroutine();
  // While true the awaiter is on the stack below and goes on by itself: a loop over tasks that end
  // without suspending needs no stack, also where the compiler makes no tail calls (g++ -O0).
  bool starting = false;

  struct FinalAwait {
    bool await_ready() noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) noexcept {
      PromiseBase& promise = self.promise();
      if (std::exchange(promise.starting, false)) return std::noop_coroutine();
      return promise.continuation;
    }
    void await_resume() noexcept {}
  };

  std::suspend_always initial_suspend() noexcept { return {}; }
  FinalAwait final_suspend() noexcept { return {}; }
  [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
};

template <typename T>
struct Promise final : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object();
  template <typename U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T take() { return std::move(*value); }
};

template <>
struct Promise<void> final : PromiseBase {
  Task<void> get_return_object();
  void return_void() {}
  void take() {}
};

}  // namespace task_detail

template <typename T>
class [[nodiscard]] Task {
 public:
  using promise_type = task_detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() = default;
  explicit Task(Handle handle) : x_handle(handle) {}
  Task(Task&& other) noexcept : x_handle(std::exchange(other.x_handle, nullptr)) {}
  Task& operator=(Task other) noexcept {
    std::swap(x_handle, other.x_handle);
    return *this;
  }
  ~Task() {
    if (x_handle) x_handle.destroy();
  }

  auto operator co_await() && {
    struct Await {
      Handle handle;
      bool await_ready() noexcept { return false; }
      bool await_suspend(std::coroutine_handle<> waiter) noexcept {
        handle.promise().continuation = waiter;
        handle.promise().starting = true;
        handle.resume();
        return std::exchange(handle.promise().starting, false);
      }
      T await_resume() { return handle.promise().take(); }
    };
    assert(x_handle);
    return Await{x_handle};
  }

 private:
  Handle x_handle;
};

namespace task_detail {
template <typename T>
Task<T> Promise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}
}  // namespace task_detail

class TaskScope {
 public:
  TaskScope() = default;
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;
  ~TaskScope() { assert(x_running == 0 && "join() before the scope ends"); }

  // Starts `task` at once; it runs until its first suspension before spawn returns.
  void spawn(Task<void> task) {
    ++x_running;
    run(std::move(task));
  }

  size_t running() const { return x_running; }

  // Suspends until every task spawned so far and meanwhile has ended. One joiner at a time.
  auto join() {
    struct Await {
      TaskScope& scope;
      bool await_ready() const noexcept { return scope.x_running == 0; }
      void await_suspend(std::coroutine_handle<> waiter) noexcept { scope.x_joiner = waiter; }
      void await_resume() noexcept {}
    };
    return Await{*this};
  }

 private:
  // A coroutine that owns itself: destroyed when it ends, counted by the scope until then.
  struct Runner {
    struct promise_type {
      Runner get_return_object() noexcept { return {}; }
      std::suspend_never initial_suspend() noexcept { return {}; }
      std::suspend_never final_suspend() noexcept { return {}; }
      void return_void() noexcept {}
      [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
    };
  };

  Runner run(Task<void> task) {
    co_await std::move(task);
    task = {};  // its parameters end before the joiner runs
    finished();
  }

  void finished() {
    if (--x_running == 0 && x_joiner) std::exchange(x_joiner, nullptr).resume();
  }

  size_t x_running = 0;
  std::coroutine_handle<> x_joiner;
};

}  // namespace dedup
