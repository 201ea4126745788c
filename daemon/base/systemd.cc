#include "base/systemd.h"

#include <poll.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

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
  iovec part{const_cast<char*>(text), std::strlen(text)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  sockaddr_un address = x_address;
  msghdr message{};
  message.msg_name = &address;
  message.msg_namelen = x_address_bytes;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  }
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (sendmsg(x_socket.get(), &message, MSG_NOSIGNAL) >= 0) return true;
    if (errno != EAGAIN && errno != EINTR && errno != ETOOMANYREFS) return false;
    poll(nullptr, 0, kPauseMs);
  }
  return false;
}

}  // namespace dedup
