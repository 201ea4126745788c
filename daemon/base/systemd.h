// Systemd: messages to systemd, when it started us: readiness, and fds it holds for us while
// we are dead. Sending allocates nothing and never blocks. Any thread.
//
//   source  sd_notify(3), sd_pid_notify_with_fds(3): a datagram per message on $NOTIFY_SOCKET
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include "base/unique_fd.h"

namespace dedup {

class Systemd {
 public:
  // From $NOTIFY_SOCKET; without it, or with a transport other than a unix socket, there is none
  // and every send is false.
  static Systemd from_environment();

  bool present() const { return x_socket.valid(); }
  // text: "NAME=VALUE\n" lines. False when the manager did not take it.
  bool send(const char* text) const;
  // Hands over a dup of `fd` under a name of at most 63 letters, digits and "-".
  bool store(const char* name, int fd) const;
  bool forget(const char* name) const;  // every stored fd of that name

 private:
  bool send_with(const char* text, int fd) const;

  UniqueFd x_socket;
  sockaddr_un x_address{};
  socklen_t x_address_bytes = 0;
};

}  // namespace dedup
