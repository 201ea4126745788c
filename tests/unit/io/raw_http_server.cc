#include "unit/io/raw_http_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

namespace dedup::test {
namespace {

void trim(std::string& text) {
  while (!text.empty() && (text.back() == '\r' || text.back() == ' ')) text.pop_back();
  while (!text.empty() && text.front() == ' ') text.erase(0, 1);
}

}  // namespace

std::string RawRequest::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

bool RawConnection::write(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(x_fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool RawConnection::answer(std::string_view status, std::string_view headers,
                           std::string_view body) const {
  std::string text = "HTTP/1.1 ";
  text.append(status).append("\r\n").append(headers);
  text += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
  return write(text) && write(body);
}

void RawConnection::hang() const {
  while (!x_stopping) {
    pollfd poller{x_fd, POLLIN | POLLRDHUP, 0};
    if (::poll(&poller, 1, 20) > 0) return;
  }
}

RawHttpServer::RawHttpServer(Handler handler) : x_handler(std::move(handler)) {
  x_listener = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(x_listener.get(), generic, length) != 0 || ::listen(x_listener.get(), 64) != 0 ||
      ::getsockname(x_listener.get(), generic, &length) != 0) {
    std::abort();
  }
  x_port = ntohs(address.sin_port);
  x_acceptor = std::thread([this] { accept_all(); });
}

RawHttpServer::~RawHttpServer() {
  x_stopping = true;
  ::shutdown(x_listener.get(), SHUT_RDWR);
  x_acceptor.join();
  {
    std::lock_guard lock(x_mutex);
    for (const int fd : x_open) ::shutdown(fd, SHUT_RDWR);
  }
  for (auto& thread : x_threads) thread.join();
}

std::string RawHttpServer::url(std::string_view target) const {
  return "http://" + host() + std::string(target);
}

void RawHttpServer::accept_all() {
  for (;;) {
    const int fd = ::accept4(x_listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0 || x_stopping) {
      if (fd >= 0) ::close(fd);
      return;
    }
    const int one = 1;  // head and body are two writes; the second must not wait for an ACK
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    ++x_accepted;
    std::lock_guard lock(x_mutex);
    x_open.push_back(fd);
    x_threads.emplace_back([this, fd] { serve(fd); });
  }
}

// One request from `fd`; `pending` keeps bytes read beyond it.
std::optional<RawRequest> RawHttpServer::read_request(int fd, std::string* pending) const {
  char buffer[16384];
  const auto more = [&] {
    const ssize_t got = ::recv(fd, buffer, sizeof(buffer), 0);
    if (got > 0) pending->append(buffer, static_cast<size_t>(got));
    return got > 0;
  };
  size_t end = std::string::npos;
  while ((end = pending->find("\r\n\r\n")) == std::string::npos) {
    if (!more()) return std::nullopt;
  }
  RawRequest request;
  std::string head = pending->substr(0, end + 2);
  pending->erase(0, end + 4);
  const size_t first = head.find(' ');
  const size_t second = head.find(' ', first + 1);
  request.method = head.substr(0, first);
  request.target = head.substr(first + 1, second - first - 1);
  for (size_t at = head.find("\r\n") + 2; at < head.size();) {
    const size_t line_end = head.find("\r\n", at);
    const size_t colon = head.find(':', at);
    std::string name = head.substr(at, colon - at);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    std::string value = head.substr(colon + 1, line_end - colon - 1);
    trim(value);
    request.headers[name] = value;
    at = line_end + 2;
  }
  const size_t body_bytes = std::strtoul(request.header("content-length").c_str(), nullptr, 10);
  size_t until_pause = x_pause_every_bytes;
  while (pending->size() < body_bytes) {
    const size_t before = pending->size();
    if (!more()) return std::nullopt;
    pause_in_body(&until_pause, pending->size() - before);
  }
  request.body = pending->substr(0, body_bytes);
  pending->erase(0, body_bytes);
  return request;
}

void RawHttpServer::pause_in_body(size_t* until_pause, size_t got_bytes) const {
  if (got_bytes < *until_pause) {
    *until_pause -= got_bytes;
    return;
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(x_pause_ms);
  while (!x_stopping && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  *until_pause = x_pause_every_bytes;
}

void RawHttpServer::take_bodies_slowly(size_t every_bytes, std::chrono::milliseconds pause) {
  const int window_bytes = 64 * 1024;  // inherited by accepted sockets
  ::setsockopt(x_listener.get(), SOL_SOCKET, SO_RCVBUF, &window_bytes, sizeof(window_bytes));
  x_pause_ms = pause.count();
  x_pause_every_bytes = every_bytes;
}

void RawHttpServer::serve(int fd) {
  std::string pending;
  const RawConnection connection(fd, x_stopping);
  while (!x_stopping) {
    const auto request = read_request(fd, &pending);
    if (!request || !x_handler(*request, connection)) break;
  }
  std::lock_guard lock(x_mutex);
  std::erase(x_open, fd);
  ::close(fd);
}

}  // namespace dedup::test
