// LoopThread: a Ring on a thread of its own, for tests. run() is the bridge to it.
#pragma once

#include <memory>
#include <thread>

#include "io/ring.h"

namespace dedup::test {

class LoopThread {
 public:
  LoopThread() : x_ring(std::move(Ring::open()).value()) {
    x_thread = std::thread([this] { x_ring->run(); });
  }
  ~LoopThread() {
    x_ring->stop();
    x_thread.join();
  }

  Ring& ring() { return *x_ring; }

  template <typename T>
  T run(Task<T> task) {
    return block_on(*x_ring, std::move(task));
  }
  // Calls `action` on the loop and waits for it.
  void call(std::function<void()> action) { run(run_action(std::move(action))); }

 private:
  static Task<void> run_action(std::function<void()> action) {
    action();
    co_return;
  }

  std::unique_ptr<Ring> x_ring;
  std::thread x_thread;
};

}  // namespace dedup::test
