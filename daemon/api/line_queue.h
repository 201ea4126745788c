// LineQueue: lines from the loop to the thread that writes one streaming answer. The loop side
// never blocks: progress beyond kProgressLines is dropped, oldest first; the last line never is.
// Any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace dedup {

class LineQueue {
 public:
  static constexpr size_t kProgressLines = 64;

  struct Line {
    std::string text;
    bool last = false;
  };

  // False when nobody will read it, so the caller may save the work of making the next one.
  bool wanted() const {
    std::lock_guard lock(x_mutex);
    return !x_abandoned && !x_last;
  }

  void push(std::string text) {
    std::lock_guard lock(x_mutex);
    if (x_abandoned || x_last) return;
    if (x_progress.size() == kProgressLines) x_progress.pop_front();
    x_progress.push_back(std::move(text));
    x_wakeup.notify_one();
  }

  void finish(std::string text) {
    std::lock_guard lock(x_mutex);
    if (!x_last) x_last = std::move(text);
    x_wakeup.notify_one();
  }

  // The next line; nothing when none came within `patience`.
  std::optional<Line> next(std::chrono::milliseconds patience) {
    std::unique_lock lock(x_mutex);
    x_wakeup.wait_for(lock, patience, [this] { return !x_progress.empty() || x_last; });
    if (!x_progress.empty()) {
      Line line{std::move(x_progress.front()), false};
      x_progress.pop_front();
      return line;
    }
    if (x_last) return Line{*x_last, true};
    return std::nullopt;
  }

  // The reader is gone.
  void abandon() {
    std::lock_guard lock(x_mutex);
    x_abandoned = true;
    x_progress.clear();
  }

 private:
  mutable std::mutex x_mutex;  // protects everything below
  std::condition_variable x_wakeup;
  std::deque<std::string> x_progress;
  std::optional<std::string> x_last;
  bool x_abandoned = false;
};

}  // namespace dedup
