// Coroutine synchronisation on the loop thread: OneShot (a value many wait for), Semaphore (bounded
// resource, waiters served by priority, then first come) and Channel (bounded queue between two
// coroutines). No locks: one thread. Waiters are resumed through Ring::post, so a wake-up never
// runs inside the waker.
#pragma once

#include <array>
#include <cassert>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/priority.h"
#include "io/cancel.h"
#include "io/ring.h"

namespace dedup {

// Set once; every co_await wait() before or after gets a reference to the value.
template <typename T>
class OneShot {
 public:
  explicit OneShot(Ring& ring) : x_ring(ring) {}
  bool ready() const { return x_value.has_value(); }
  const T& value() const { return *x_value; }

  void set(T value) {
    assert(!ready());
    x_value.emplace(std::move(value));
    for (auto waiter : std::exchange(x_waiters, {})) x_ring.post([waiter] { waiter.resume(); });
  }

  // The awaiting frame keeps the OneShot alive (usually through a shared_ptr).
  auto wait() {
    struct Await {
      OneShot& shot;
      bool await_ready() const noexcept { return shot.ready(); }
      void await_suspend(std::coroutine_handle<> waiter) { shot.x_waiters.push_back(waiter); }
      const T& await_resume() const { return *shot.x_value; }
    };
    return Await{*this};
  }

 private:
  Ring& x_ring;
  std::optional<T> x_value;
  std::vector<std::coroutine_handle<>> x_waiters;
};

// Counts units (slots, bytes). A Permit gives them back when it ends.
class Semaphore {
 public:
  Semaphore(Ring& ring, uint64_t units) : x_ring(ring), x_free(units), x_total(units) {}
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  class Permit {
   public:
    Permit() = default;
    Permit(Semaphore& semaphore, uint64_t units) : x_semaphore(&semaphore), x_units(units) {}
    Permit(Permit&& other) noexcept
        : x_semaphore(std::exchange(other.x_semaphore, nullptr)), x_units(other.x_units) {}
    Permit& operator=(Permit other) noexcept {
      std::swap(x_semaphore, other.x_semaphore);
      std::swap(x_units, other.x_units);
      return *this;
    }
    bool held() const { return x_semaphore != nullptr; }
    ~Permit() {
      if (x_semaphore != nullptr) x_semaphore->release(x_units);
    }

   private:
    Semaphore* x_semaphore = nullptr;
    uint64_t x_units = 0;
  };

  // More units than the semaphore has are asked as all of them, so one oversized request still
  // runs, alone. Cancelled while waiting: the permit is empty, held() is false.
  auto acquire(uint64_t units, Priority priority, CancelToken token = {}) {
    struct Await {
      Waiter waiter;
      CancelToken token;
      bool await_ready() {
        Semaphore& semaphore = waiter.semaphore;
        if (token.cancelled()) return true;
        if (semaphore.must_wait(waiter.units, waiter.queue)) return false;
        semaphore.x_free -= waiter.units;
        waiter.granted = true;
        return true;
      }
      void await_suspend(std::coroutine_handle<> handle) { waiter.enqueue(handle, token); }
      Permit await_resume() {
        return waiter.granted ? Permit(waiter.semaphore, waiter.units) : Permit();
      }
    };
    return Await{Waiter(*this, units < x_total ? units : x_total, static_cast<size_t>(priority)),
                 token};
  }

  uint64_t free_units() const { return x_free; }

 private:
  struct Waiter final : CancelHook {
    Semaphore& semaphore;
    uint64_t units;
    size_t queue;
    bool granted = false;
    std::coroutine_handle<> handle;

    Waiter(Semaphore& owner, uint64_t wanted, size_t place)
        : semaphore(owner), units(wanted), queue(place) {}

    void enqueue(std::coroutine_handle<> waiting, CancelToken token) {
      handle = waiting;
      semaphore.x_waiters[queue].push_back(this);
      if (token.source() != nullptr) link(*token.source());
    }
    void grant() {
      granted = true;
      resume_later();
    }
    void on_cancel() override {
      std::erase(semaphore.x_waiters[queue], this);
      resume_later();
      semaphore.serve();  // those it stood before
    }
    void resume_later() {
      unlink();
      semaphore.x_ring.post([waiting = handle] { waiting.resume(); });
    }
  };

  bool must_wait(uint64_t units, size_t queue) const {
    for (size_t i = 0; i <= queue; ++i) {
      if (!x_waiters[i].empty()) return true;
    }
    return units > x_free;
  }

  void release(uint64_t units) {
    x_free += units;
    serve();
  }

  void serve() {
    for (auto& queue : x_waiters) {
      while (!queue.empty()) {
        Waiter* next = queue.front();
        if (next->units > x_free)
          return;  // strict order: a large waiter is not starved by small ones
        x_free -= next->units;
        queue.pop_front();
        next->grant();
      }
    }
  }

  Ring& x_ring;
  uint64_t x_free;
  uint64_t x_total;
  std::array<std::deque<Waiter*>, kPriorityCount> x_waiters;
};

// Single producer, single consumer. push() waits while the queue is full; pop() gives nullopt after
// close().
template <typename T>
class Channel {
 public:
  Channel(Ring& ring, size_t capacity) : x_ring(ring), x_capacity(capacity) {}
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // false: the channel was closed, the value is dropped.
  Task<bool> push(T value) {
    while (x_items.size() >= x_capacity && !x_closed) co_await Park{x_producer};
    if (x_closed) co_return false;
    x_items.push_back(std::move(value));
    wake(x_consumer);
    co_return true;
  }

  Task<std::optional<T>> pop() {
    while (x_items.empty() && !x_closed) co_await Park{x_consumer};
    if (x_items.empty()) co_return std::nullopt;
    T value = std::move(x_items.front());
    x_items.pop_front();
    wake(x_producer);
    co_return std::optional<T>(std::move(value));
  }

  // Items already queued can still be popped.
  void close() {
    x_closed = true;
    wake(x_producer);
    wake(x_consumer);
  }

 private:
  struct Park {
    std::coroutine_handle<>& place;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) { place = handle; }
    void await_resume() const noexcept {}
  };

  void wake(std::coroutine_handle<>& place) {
    if (!place) return;
    x_ring.post([handle = std::exchange(place, nullptr)] { handle.resume(); });
  }

  Ring& x_ring;
  size_t x_capacity;
  bool x_closed = false;
  std::deque<T> x_items;
  std::coroutine_handle<> x_producer;
  std::coroutine_handle<> x_consumer;
};

}  // namespace dedup
