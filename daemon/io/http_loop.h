// HttpLoop: libcurl's multi handle driven by the ring: a level-triggered watch per socket, a
// timerfd for curl's clock and one for stalls. Owned by the HttpClient, private to io/http*.cc;
// loop thread.
//
// curl is never entered from inside one of its own callbacks: callbacks only store bytes, set
// timers and change watches; whoever waits is resumed through Ring::post, after curl has returned.
#pragma once

#include <curl/curl.h>

#include <chrono>
#include <memory>
#include <unordered_set>

#include "base/result.h"
#include "base/unique_fd.h"
#include "io/http.h"
#include "io/ring.h"

namespace dedup {

class HttpTransfer;

class HttpLoop {
 public:
  using Clock = std::chrono::steady_clock;

  static Result<std::unique_ptr<HttpLoop>> open(Ring& ring, const HttpOptions& options);
  ~HttpLoop();  // no transfer is left
  HttpLoop(const HttpLoop&) = delete;
  HttpLoop& operator=(const HttpLoop&) = delete;

  // Starts a transfer; it hears of its end through finish(). It is removed before it is destroyed.
  Result<void> add(HttpTransfer& transfer);
  void remove(HttpTransfer& transfer);
  void unpause(HttpTransfer& transfer);
  // Sets the timer to the earliest stall_deadline(); callable from curl's callbacks.
  void arm_stall_timer();

  Ring& ring() { return x_ring; }
  const HttpOptions& options() const { return x_options; }
  HttpCounters& counters() { return x_counters; }
  uint64_t& buffered_bytes() { return x_buffered_bytes; }

 private:
  HttpLoop(Ring& ring, const HttpOptions& options) : x_ring(ring), x_options(options) {}
  static int on_socket(CURL* easy, curl_socket_t fd, int what, void* self, void* watch);
  static int on_timer(CURLM* multi, long timeout_ms, void* self);
  void run_curl(curl_socket_t fd, int events);
  void check_stalls();

  Ring& x_ring;
  HttpOptions x_options;
  HttpCounters x_counters;
  uint64_t x_buffered_bytes = 0;  // of all transfers, received and not yet taken
  CURLM* x_multi = nullptr;
  UniqueFd x_curl_timer;
  UniqueFd x_stall_timer;
  std::unique_ptr<Ring::Watch> x_curl_watch;
  std::unique_ptr<Ring::Watch> x_stall_watch;
  std::unordered_set<HttpTransfer*> x_active;
};

}  // namespace dedup
