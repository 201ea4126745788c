#include "doors/kept_channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <span>

#include "base/send_fd.h"

namespace dedup {
namespace {

constexpr std::chrono::seconds kLongestWait{5};

}  // namespace

Result<void> KeptChannel::request(KeptAction action, uint32_t segment, int fd) {
  const KeptRequest request{x_next_id++, action, segment};
  TRY(send(request, fd));
  return await_answer(request.id);
}

Result<void> KeptChannel::send(const KeptRequest& request, int fd) {
  const int number = send_fd(x_socket.get(), std::as_bytes(std::span(&request, 1)), fd);
  if (number != 0) return Error{Errc::kUnavailable, number, "the keeper cannot be reached"};
  return {};
}

Result<void> KeptChannel::await_answer(uint64_t id) {
  const auto deadline = std::chrono::steady_clock::now() + kLongestWait;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return make_error(Errc::kUnavailable, "the keeper does not answer");
    pollfd ready[] = {{x_socket.get(), POLLIN, 0}, {x_keeper.get(), POLLIN, 0}};
    if (poll(ready, 2, static_cast<int>(left.count())) <= 0) continue;
    if (ready[0].revents == 0) return make_error(Errc::kUnavailable, "the keeper is gone");
    KeptAnswer answer;
    const ssize_t got = recv(x_socket.get(), &answer, sizeof(answer), MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return make_error(Errc::kUnavailable, "the keeper is gone");
    // An answer to a worker that died before it could read it.
    if (got != static_cast<ssize_t>(sizeof(answer)) || answer.id != id) continue;
    if (answer.error != 0) return errno_error(answer.error, "the keeper");
    return {};
  }
}

}  // namespace dedup
