// RawHttpServer: an HTTP/1.1 server on loopback whose handler writes the answer's bytes itself, so
// it can cut, stall or lie. One thread per connection; the handler runs on it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/unique_fd.h"

namespace dedup::test {

struct RawRequest {
  std::string method;
  std::string target;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::string header(const std::string& name) const;
};

// A value that a test and its server's threads both use.
template <typename T>
class Shared {
 public:
  explicit Shared(T value = {}) : x_value(std::move(value)) {}
  void set(T value) {
    std::lock_guard lock(x_mutex);
    x_value = std::move(value);
  }
  T get() const {
    std::lock_guard lock(x_mutex);
    return x_value;
  }

 private:
  mutable std::mutex x_mutex;  // protects x_value
  T x_value;
};

class RawConnection {
 public:
  RawConnection(int fd, const std::atomic<bool>& stopping) : x_fd(fd), x_stopping(stopping) {}
  // False when the client has gone.
  bool write(std::string_view bytes) const;
  // "HTTP/1.1 STATUS\r\n" + headers (each with \r\n) + Content-Length + body.
  bool answer(std::string_view status, std::string_view headers, std::string_view body) const;
  // Says nothing until the client or the server ends.
  void hang() const;

 private:
  int x_fd;
  const std::atomic<bool>& x_stopping;
};

class RawHttpServer {
 public:
  // Returns whether the connection stays open for the next request.
  using Handler = std::function<bool(const RawRequest&, const RawConnection&)>;

  explicit RawHttpServer(Handler handler);
  ~RawHttpServer();  // ends all connections
  RawHttpServer(const RawHttpServer&) = delete;
  RawHttpServer& operator=(const RawHttpServer&) = delete;

  std::string host() const { return "127.0.0.1:" + std::to_string(x_port); }
  std::string url(std::string_view target) const;
  size_t connections() const { return x_accepted; }
  // From now on bodies are taken with a pause after so many bytes, through a small window.
  void take_bodies_slowly(size_t every_bytes, std::chrono::milliseconds pause);

 private:
  void accept_all();
  void serve(int fd);
  void pause_in_body(size_t* until_pause, size_t got_bytes) const;
  std::optional<RawRequest> read_request(int fd, std::string* pending) const;

  Handler x_handler;
  UniqueFd x_listener;
  int x_port = 0;
  std::atomic<bool> x_stopping{false};
  std::atomic<size_t> x_accepted{0};
  std::atomic<size_t> x_pause_every_bytes{SIZE_MAX};
  std::atomic<int64_t> x_pause_ms{0};
  std::mutex x_mutex;  // protects x_open and x_threads
  std::vector<int> x_open;
  std::vector<std::thread> x_threads;
  std::thread x_acceptor;
};

}  // namespace dedup::test
