#include "base/systemd.h"

#include <poll.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>

#include "base/send_fd.h"

namespace dedup {
namespace {

constexpr int kAttempts = 20;
constexpr int kPauseMs = 5;  // the manager's queue is full: it is busy starting others

}  // namespace

Systemd Systemd::from_environment() {
  Systemd manager;
  const char* path = std::getenv("NOTIFY_SOCKET");
  const std::string_view text = path == nullptr ? "" : path;
  if (text.size() < 2 || text.size() >= sizeof(manager.x_address.sun_path)) return manager;
  if (text[0] != '/' && text[0] != '@') return manager;
  manager.x_address.sun_family = AF_UNIX;
  std::memcpy(manager.x_address.sun_path, text.data(), text.size());
  if (text[0] == '@') manager.x_address.sun_path[0] = '\0';
  manager.x_address_bytes =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size() + (text[0] == '/'));
  manager.x_socket = UniqueFd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return manager;
}

bool Systemd::send(const char* text) const {
  return send_with(text, -1);
}

bool Systemd::store(const char* name, int fd) const {
  char text[128];
  // FDPOLL=0: the manager must not drop what looks broken to poll(2).
  std::snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0\n", name);
  return send_with(text, fd);
}

bool Systemd::forget(const char* name) const {
  char text[128];
  std::snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s\n", name);
  return send_with(text, -1);
}

bool Systemd::send_with(const char* text, int fd) const {
  if (!x_socket.valid()) return false;
  const auto bytes = std::as_bytes(std::span(text, std::strlen(text)));
  const auto* address = reinterpret_cast<const sockaddr*>(&x_address);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const int number = send_fd(x_socket.get(), bytes, fd, address, x_address_bytes);
    if (number == 0) return true;
    if (number != EAGAIN && number != ETOOMANYREFS) return false;
    poll(nullptr, 0, kPauseMs);
  }
  return false;
}

}  // namespace dedup
