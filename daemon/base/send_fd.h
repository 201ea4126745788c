// send_fd: one message on a unix socket, with an fd along. Allocates nothing. Any thread.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <span>

namespace dedup {

//   fd           sent along (SCM_RIGHTS); -1: the bytes only
//   destination  none: the socket is connected
//   returns      0, or an errno; a signal does not end it
int send_fd(int socket, std::span<const std::byte> bytes, int fd,
            const sockaddr* destination = nullptr, socklen_t destination_bytes = 0);

}  // namespace dedup
