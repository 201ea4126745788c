// block_on: the bridge from a plain thread (API handler, test) to the loop. Included by ring.h.
#pragma once

#include <future>

#include "io/ring.h"

namespace dedup {
namespace block_on_detail {

struct SelfOwned {
  struct promise_type {
    SelfOwned get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
  };
};

template <typename T>
SelfOwned start(Task<T> task, std::promise<T>* promise) {
  // The task and its parameters end on the loop, before the caller goes on.
  if constexpr (std::is_void_v<T>) {
    co_await std::move(task);
    task = {};
    promise->set_value();
  } else {
    T value = co_await std::move(task);
    task = {};
    promise->set_value(std::move(value));
  }
}

}  // namespace block_on_detail

template <typename T>
T block_on(Ring& ring, Task<T> task) {
  assert(!ring.on_loop_thread());
  std::promise<T> promise;
  auto future = promise.get_future();
  auto shared = std::make_shared<Task<T>>(std::move(task));
  ring.post([shared, &promise] { block_on_detail::start(std::move(*shared), &promise); });
  return future.get();
}

}  // namespace dedup
