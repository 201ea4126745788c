// BackgroundThread: one thread that runs a job whenever it was woken, and again after the pause the
// job asks for. Destroying it waits for the job in progress.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

namespace dedup {

class BackgroundThread {
 public:
  // Nothing: sleep until woken.
  using Pause = std::optional<std::chrono::milliseconds>;

  explicit BackgroundThread(std::function<Pause()> job) : x_job(std::move(job)) {
    x_thread = std::thread([this] { run(); });
  }
  ~BackgroundThread() {
    {
      const std::lock_guard lock(x_mutex);
      x_stopping = true;
    }
    x_changed.notify_all();
    x_thread.join();
  }
  BackgroundThread(const BackgroundThread&) = delete;
  BackgroundThread& operator=(const BackgroundThread&) = delete;

  void wake() {
    {
      const std::lock_guard lock(x_mutex);
      x_woken = true;
    }
    x_changed.notify_all();
  }

 private:
  void run() {
    std::unique_lock lock(x_mutex);
    while (!x_stopping) {
      x_woken = false;
      lock.unlock();
      const Pause pause = x_job();
      lock.lock();
      const auto due = [this] { return x_woken || x_stopping; };
      if (pause)
        x_changed.wait_for(lock, *pause, due);
      else
        x_changed.wait(lock, due);
    }
  }

  std::function<Pause()> x_job;
  std::mutex x_mutex;
  std::condition_variable x_changed;
  bool x_woken = false;
  bool x_stopping = false;
  std::thread x_thread;
};

}  // namespace dedup
