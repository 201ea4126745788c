#include "io/workers.h"

namespace dedup {

Workers::Workers(Ring& ring, unsigned threads) : x_ring(ring) {
  x_threads.reserve(threads);
  for (unsigned i = 0; i < threads; ++i) x_threads.emplace_back([this] { work(); });
}

Workers::~Workers() {
  {
    std::lock_guard lock(x_mutex);
    x_stopping = true;
  }
  x_wakeup.notify_all();
  for (auto& thread : x_threads) thread.join();
}

void Workers::submit(Priority priority, std::function<void()> job) {
  {
    std::lock_guard lock(x_mutex);
    x_jobs[static_cast<size_t>(priority)].push_back(std::move(job));
  }
  x_wakeup.notify_one();
}

void Workers::work() {
  std::unique_lock lock(x_mutex);
  for (;;) {
    std::deque<std::function<void()>>* queue = nullptr;
    for (auto& candidate : x_jobs) {
      if (!candidate.empty()) {
        queue = &candidate;
        break;
      }
    }
    if (queue == nullptr) {
      if (x_stopping) return;
      x_wakeup.wait(lock);
      continue;
    }
    auto job = std::move(queue->front());
    queue->pop_front();
    lock.unlock();
    job();
    lock.lock();
  }
}

}  // namespace dedup
