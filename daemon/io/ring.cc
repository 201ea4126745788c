#include "io/ring.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <utility>

namespace dedup {

// The eventfd other threads write to when they post. A read is always in flight, so the loop wakes.
struct Ring::Wakeup final : Completion {
  Ring& ring;
  uint64_t counter = 0;
  explicit Wakeup(Ring& owner) : ring(owner) {}
  void complete(int, uint32_t) noexcept override {
    ring.drain_posted();
    if (!ring.x_stop) ring.arm_wakeup();
  }
};

Result<std::unique_ptr<Ring>> Ring::open(unsigned entries) {
  std::unique_ptr<Ring> ring(new Ring);
  // SINGLE_ISSUER + DEFER_TASKRUN (6.1): completions run only when the loop asks. R_DISABLED lets
  // the thread that calls run(), not the one that opens, become the single issuer.
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED;
  int status = io_uring_queue_init_params(entries, &ring->x_ring, &params);
  if (status == -EINVAL) {
    params = {};
    params.flags = IORING_SETUP_R_DISABLED;  // 5.10
    status = io_uring_queue_init_params(entries, &ring->x_ring, &params);
  }
  if (status < 0) return errno_error(-status, "io_uring_setup");
  ring->x_ring_ready = true;
  ring->x_wakeup_fd = UniqueFd(eventfd(0, EFD_CLOEXEC));
  if (!ring->x_wakeup_fd.valid()) return errno_error(errno, "eventfd");
  ring->x_wakeup = std::make_unique<Wakeup>(*ring);
  return ring;
}

void Ring::run() {
  x_thread = std::this_thread::get_id();
  // liburing 2.3 declares io_uring_enable_rings but does not export it.
  syscall(SYS_io_uring_register, x_ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
  arm_wakeup();
  while (!x_stop) {
    // EINTR and a full completion queue (EBUSY) both mean: look at what is there and come back.
    io_uring_submit_and_wait(&x_ring, 1);
    dispatch_completions();
  }
}

void Ring::dispatch_completions() {
  io_uring_cqe* cqe = nullptr;
  while (io_uring_peek_cqe(&x_ring, &cqe) == 0) {
    auto* completion = reinterpret_cast<Completion*>(cqe->user_data);
    const int result = cqe->res;
    const uint32_t flags = cqe->flags;
    io_uring_cqe_seen(&x_ring, cqe);
    if (completion != nullptr) completion->complete(result, flags);
  }
}

void Ring::stop() {
  post([this] { x_stop = true; });
}

void Ring::post(std::function<void()> action) {
  {
    std::lock_guard lock(x_mutex);
    x_posted.push_back(std::move(action));
    if (x_posted.size() > 1) return;  // the poster of the first one wakes the loop
  }
  const uint64_t one = 1;
  // Cannot fail short of a counter overflow after 2^64 - 2 unread posts.
  [[maybe_unused]] const auto written = ::write(x_wakeup_fd.get(), &one, sizeof(one));
}

void Ring::drain_posted() {
  std::vector<std::function<void()>> actions;
  {
    std::lock_guard lock(x_mutex);
    actions.swap(x_posted);
  }
  for (auto& action : actions) action();
}

void Ring::arm_wakeup() {
  submit(x_wakeup.get(), [this](io_uring_sqe* sqe) {
    io_uring_prep_read(sqe, x_wakeup_fd.get(), &x_wakeup->counter, sizeof(x_wakeup->counter), 0);
  });
}

io_uring_sqe* Ring::free_entry() {
  io_uring_sqe* sqe = io_uring_get_sqe(&x_ring);
  while (sqe == nullptr) {
    io_uring_submit(&x_ring);
    sqe = io_uring_get_sqe(&x_ring);
  }
  return sqe;
}

void Ring::cancel(Completion* completion) {
  submit(nullptr, [completion](io_uring_sqe* sqe) { io_uring_prep_cancel(sqe, completion, 0); });
}

Ring::Operation Ring::read(int fd, std::span<std::byte> buffer, uint64_t offset,
                           CancelToken token) {
  return {*this,
          {.kind = Operation::Kind::kRead,
           .fd = fd,
           .buffer = buffer.data(),
           .buffer_bytes = buffer.size(),
           .offset = offset},
          token};
}

Ring::Operation Ring::write(int fd, std::span<const std::byte> buffer, uint64_t offset,
                            CancelToken token) {
  auto* data = const_cast<std::byte*>(buffer.data());  // only read from
  return {*this,
          {.kind = Operation::Kind::kWrite,
           .fd = fd,
           .buffer = data,
           .buffer_bytes = buffer.size(),
           .offset = offset},
          token};
}

Ring::Operation Ring::fdatasync(int fd, CancelToken token) {
  return {*this, {.kind = Operation::Kind::kFdatasync, .fd = fd}, token};
}

Ring::Operation Ring::poll(int fd, short events, CancelToken token) {
  return {*this, {.kind = Operation::Kind::kPoll, .fd = fd, .events = events}, token};
}

Ring::Operation Ring::sleep(std::chrono::nanoseconds duration, CancelToken token) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
  Operation::Request request{.kind = Operation::Kind::kSleep};
  request.duration.tv_sec = seconds.count();
  request.duration.tv_nsec = (duration - seconds).count();
  return {*this, request, token};
}

bool Ring::Operation::await_suspend(std::coroutine_handle<> waiter) {
  if (x_token.cancelled()) {
    x_result = -ECANCELED;
    return false;
  }
  x_waiter = waiter;
  if (x_token.source() != nullptr) link(*x_token.source());
  x_ring.submit(this, [this](io_uring_sqe* sqe) { fill(sqe); });
  return true;
}

void Ring::Operation::fill(io_uring_sqe* sqe) {
  Request& r = x_request;
  switch (r.kind) {
    case Kind::kRead:
      return io_uring_prep_read(sqe, r.fd, r.buffer, static_cast<unsigned>(r.buffer_bytes),
                                r.offset);
    case Kind::kWrite:
      return io_uring_prep_write(sqe, r.fd, r.buffer, static_cast<unsigned>(r.buffer_bytes),
                                 r.offset);
    case Kind::kFdatasync:
      return io_uring_prep_fsync(sqe, r.fd, IORING_FSYNC_DATASYNC);
    case Kind::kPoll:
      return io_uring_prep_poll_add(sqe, r.fd, static_cast<unsigned>(r.events));
    case Kind::kSleep:
      return io_uring_prep_timeout(sqe, &r.duration, 0, 0);
  }
}

void Ring::Operation::complete(int result, uint32_t) noexcept {
  unlink();
  x_result = x_request.kind == Kind::kSleep && result == -ETIME ? 0 : result;
  x_waiter.resume();
}

// The record the kernel points at. It outlives its Watch until the last completion arrived; the
// ring owns it.
struct Ring::Watch::State final : Completion {
  Ring& ring;
  int fd;
  short events;
  std::function<void(short)> on_ready;
  Trigger trigger;
  bool watched = true;
  bool armed = false;
  bool in_callback = false;

  State(Ring& owner, int watched_fd, short mask, std::function<void(short)> action, Trigger mode)
      : ring(owner), fd(watched_fd), events(mask), on_ready(std::move(action)), trigger(mode) {}

  void arm() {
    armed = true;
    ring.submit(this, [this](io_uring_sqe* sqe) {
      if (trigger == Trigger::kEdge) {
        io_uring_prep_poll_multishot(sqe, fd, static_cast<unsigned>(events));
      } else {
        io_uring_prep_poll_add(sqe, fd, static_cast<unsigned>(events));
      }
    });
  }

  void complete(int result, uint32_t cqe_flags) noexcept override {
    armed = (cqe_flags & IORING_CQE_F_MORE) != 0;
    if (watched && result != 0) {
      in_callback = true;
      on_ready(result > 0 ? static_cast<short>(result) : static_cast<short>(POLLNVAL));
      in_callback = false;
    }
    if (armed) return;
    if (!watched) return end();
    if (result >= 0) arm();
  }

  void unwatch() {
    watched = false;
    if (armed) return ring.cancel(this);
    if (!in_callback) end();
  }

  void end() {
    ring.x_watches.erase(this);
    delete this;
  }
};

Ring::Watch::~Watch() {
  x_state->unwatch();
}

std::unique_ptr<Ring::Watch> Ring::watch(int fd, short events, std::function<void(short)> on_ready,
                                         Trigger trigger) {
  auto* state = new Watch::State(*this, fd, events, std::move(on_ready), trigger);
  x_watches.insert(state);
  state->arm();
  return std::unique_ptr<Watch>(new Watch(state));
}

Ring::~Ring() {
  if (x_ring_ready) io_uring_queue_exit(&x_ring);
  for (Completion* watch : x_watches) delete static_cast<Watch::State*>(watch);
}

}  // namespace dedup
