// HttpTransfer: one request on one curl easy handle, and the stream its body is pulled from. Owned
// by whoever called HttpClient::open (as an HttpStream); private to io/http*.cc; loop thread.
// Destroying it removes the transfer from curl at once, so a cancelled transfer has no later event.
#pragma once

#include <array>
#include <coroutine>
#include <memory>
#include <vector>

#include "io/http_loop.h"
#include "io/sync.h"

namespace dedup {

// Received bytes a stream keeps for its reader before it makes the server wait.
inline constexpr size_t kStreamWindowBytes = size_t{1} << 20;

class HttpTransfer final : public HttpStream, private CancelHook {
 public:
  // permits: the slots this transfer holds, given back when its last byte has arrived.
  HttpTransfer(HttpLoop& loop, HttpRequest request, std::vector<Semaphore::Permit> permits);
  ~HttpTransfer() override;

  Result<void> start(CancelToken token);
  // Ends when the final response's head is there.
  Task<Result<void>> wait_head();

  const HttpHead& head() const override { return x_head; }
  Task<Result<Bytes>> read_some() override;

  // For the loop.
  CURL* easy() { return x_easy.get(); }
  void finish(CURLcode code);
  void stalled();
  // When the transfer counts as stalled; none while it connects (curl's own limit) or is paused.
  std::optional<HttpLoop::Clock::time_point> stall_deadline() const;

 private:
  struct EasyEnd {
    void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
  };
  struct HeadersEnd {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };
  // Parks the one coroutine that waits for this transfer.
  struct Park {
    HttpTransfer& transfer;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) noexcept { transfer.x_waiter = handle; }
    void await_resume() const noexcept {}
  };

  static size_t on_header(char* data, size_t size, size_t count, void* self);
  static size_t on_body(char* data, size_t size, size_t count, void* self);
  static int on_connected(void* self, char*, char*, int, int);
  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t sent);

  bool follows_redirects() const { return x_request.method == "GET" || x_request.method == "HEAD"; }
  Result<void> set_up();
  void set_up_method();
  void set_up_body();
  void header_line(std::string_view line);
  void head_complete();
  size_t body_bytes(std::span<const std::byte> bytes);
  void end(std::optional<Error> error);
  Error error_of(CURLcode code) const;
  Error error_named(Errc code, std::string_view what) const;
  void wake();
  void drop_buffer();
  void on_cancel() override;

  HttpLoop& x_loop;
  HttpRequest x_request;
  std::vector<Semaphore::Permit> x_permits;
  std::unique_ptr<CURL, EasyEnd> x_easy;
  std::unique_ptr<curl_slist, HeadersEnd> x_headers;
  std::array<char, CURL_ERROR_SIZE> x_error_text{};
  HttpHead x_head;
  size_t x_head_bytes = 0;
  bool x_head_ready = false;
  bool x_paused = false;
  bool x_done = false;
  std::optional<HttpLoop::Clock::time_point> x_last_progress;
  curl_off_t x_sent_bytes = 0;  // of the request's body
  std::optional<Error> x_error;
  Bytes x_buffer;
  std::coroutine_handle<> x_waiter;
};

}  // namespace dedup
