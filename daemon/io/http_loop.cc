#include "io/http_loop.h"

#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <vector>

#include "io/http_transfer.h"

namespace dedup {
namespace {

// One shot; `delay` < 0 disarms. Zero would disarm too, so "now" is one nanosecond.
void set_timer(int timer_fd, std::chrono::nanoseconds delay) {
  itimerspec spec{};
  if (delay.count() >= 0) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(delay);
    spec.it_value.tv_sec = seconds.count();
    spec.it_value.tv_nsec = std::max<long>((delay - seconds).count(), seconds.count() > 0 ? 0 : 1);
  }
  timerfd_settime(timer_fd, 0, &spec, nullptr);
}

void consume_timer(int timer_fd) {
  uint64_t expirations = 0;
  [[maybe_unused]] const auto bytes = ::read(timer_fd, &expirations, sizeof(expirations));
}

// TLS writes to a closed connection raise SIGPIPE, and CURLOPT_NOSIGNAL keeps curl from masking it.
void ignore_sigpipe() {
  struct sigaction current {};
  if (sigaction(SIGPIPE, nullptr, &current) == 0 && current.sa_handler == SIG_DFL) {
    current.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &current, nullptr);
  }
}

}  // namespace

Result<std::unique_ptr<HttpLoop>> HttpLoop::open(Ring& ring, const HttpOptions& options) {
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    return make_error(Errc::kUnsupported, "libcurl cannot be initialised");
  }
  ignore_sigpipe();
  std::unique_ptr<HttpLoop> loop(new HttpLoop(ring, options));
  loop->x_multi = curl_multi_init();
  if (loop->x_multi == nullptr) return make_error(Errc::kUnsupported, "curl_multi_init failed");
  curl_multi_setopt(loop->x_multi, CURLMOPT_SOCKETFUNCTION, &HttpLoop::on_socket);
  curl_multi_setopt(loop->x_multi, CURLMOPT_SOCKETDATA, loop.get());
  curl_multi_setopt(loop->x_multi, CURLMOPT_TIMERFUNCTION, &HttpLoop::on_timer);
  curl_multi_setopt(loop->x_multi, CURLMOPT_TIMERDATA, loop.get());
  // Streams of one HTTP/2 connection share its flow-control window and its one TCP stream. Each
  // transfer in flight has a connection of its own, so a paused reader takes nothing from others.
  curl_multi_setopt(loop->x_multi, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_NOTHING));
  curl_multi_setopt(loop->x_multi, CURLMOPT_MAXCONNECTS,
                    static_cast<long>(options.max_transfers) * 2);
  for (UniqueFd* timer : {&loop->x_curl_timer, &loop->x_stall_timer}) {
    *timer = UniqueFd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!timer->valid()) return errno_error(errno, "timerfd_create");
  }
  // The ring belongs to its thread: the watches begin there, before any transfer can.
  ring.post([self = loop.get()] {
    self->x_curl_watch = self->x_ring.watch(
        self->x_curl_timer.get(), POLLIN,
        [self](short) {
          consume_timer(self->x_curl_timer.get());
          self->run_curl(CURL_SOCKET_TIMEOUT, 0);
        },
        Ring::Trigger::kLevel);
    self->x_stall_watch = self->x_ring.watch(
        self->x_stall_timer.get(), POLLIN,
        [self](short) {
          consume_timer(self->x_stall_timer.get());
          self->check_stalls();
        },
        Ring::Trigger::kLevel);
  });
  return loop;
}

HttpLoop::~HttpLoop() {
  assert(x_active.empty());
  if (x_multi != nullptr) curl_multi_cleanup(x_multi);
}

int HttpLoop::on_socket(CURL*, curl_socket_t fd, int what, void* self, void* watch) {
  auto* loop = static_cast<HttpLoop*>(self);
  delete static_cast<Ring::Watch*>(watch);
  Ring::Watch* next = nullptr;
  short events = 0;
  if (what == CURL_POLL_IN || what == CURL_POLL_INOUT) events = POLLIN;
  if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT) events = short(events | POLLOUT);
  if (events != 0) {
    auto on_ready = [loop, fd](short ready) {
      int bits = (ready & POLLIN) != 0 ? CURL_CSELECT_IN : 0;
      if ((ready & POLLOUT) != 0) bits |= CURL_CSELECT_OUT;
      if ((ready & ~(POLLIN | POLLOUT)) != 0) bits |= CURL_CSELECT_ERR;
      loop->run_curl(fd, bits);
    };
    next = loop->x_ring.watch(fd, events, std::move(on_ready), Ring::Trigger::kLevel).release();
  }
  curl_multi_assign(loop->x_multi, fd, next);
  return 0;
}

int HttpLoop::on_timer(CURLM*, long timeout_ms, void* self) {
  set_timer(static_cast<HttpLoop*>(self)->x_curl_timer.get(),
            std::chrono::milliseconds(timeout_ms));
  return 0;
}

void HttpLoop::run_curl(curl_socket_t fd, int events) {
  int running = 0;
  curl_multi_socket_action(x_multi, fd, events, &running);
  int queued = 0;
  while (CURLMsg* message = curl_multi_info_read(x_multi, &queued)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;  // the message dies with remove()
    HttpTransfer* transfer = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    transfer->finish(code);
  }
}

Result<void> HttpLoop::add(HttpTransfer& transfer) {
  x_active.insert(&transfer);
  const CURLMcode code = curl_multi_add_handle(x_multi, transfer.easy());
  if (code == CURLM_OK) return {};
  x_active.erase(&transfer);
  return make_error(Errc::kInvalid, std::string("libcurl: ") + curl_multi_strerror(code));
}

void HttpLoop::remove(HttpTransfer& transfer) {
  if (x_active.erase(&transfer) != 0) curl_multi_remove_handle(x_multi, transfer.easy());
}

void HttpLoop::unpause(HttpTransfer& transfer) {
  curl_easy_pause(transfer.easy(), CURLPAUSE_CONT);
  arm_stall_timer();
}

void HttpLoop::check_stalls() {
  const auto now = Clock::now();
  std::vector<HttpTransfer*> stalled;
  for (HttpTransfer* transfer : x_active) {
    const auto deadline = transfer->stall_deadline();
    if (deadline && *deadline <= now) stalled.push_back(transfer);
  }
  for (HttpTransfer* transfer : stalled) transfer->stalled();
  arm_stall_timer();
}

// Progress does not touch the timer: an expiry that finds progress only sets it again.
void HttpLoop::arm_stall_timer() {
  std::optional<Clock::time_point> next;
  for (HttpTransfer* transfer : x_active) {
    const auto deadline = transfer->stall_deadline();
    if (deadline && (!next || *deadline < *next)) next = deadline;
  }
  using std::chrono::nanoseconds;
  const auto delay =
      next ? std::max(nanoseconds(*next - Clock::now()), nanoseconds(0)) : nanoseconds(-1);
  set_timer(x_stall_timer.get(), delay);
}

}  // namespace dedup
