#include "doors/own_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"

namespace dedup {
namespace {

// What the child says at its end: one write that a pipe takes whole.
struct Outcome {
  bool ok = true;
  Errc code = Errc::kIo;
  int sys_errno = 0;
  std::array<char, 1024> context{};
};

Outcome outcome_of(const Result<void>& result) {
  Outcome outcome;
  if (result.ok()) return outcome;
  const Error& error = result.error();
  outcome.ok = false;
  outcome.code = error.code;
  outcome.sys_errno = error.sys_errno;
  error.context.copy(outcome.context.data(), outcome.context.size() - 1);
  return outcome;
}

void close_all_but(std::vector<int> kept) {
  std::ranges::sort(kept);
  unsigned first = STDERR_FILENO + 1;
  for (const int fd : kept) {
    const auto number = static_cast<unsigned>(fd);
    if (number > first) ::close_range(first, number - 1, 0);
    first = std::max(first, number + 1);
  }
  ::close_range(first, ~0u, 0);
}

[[noreturn]] void run_child(pid_t parent, std::vector<int> fds, int result_fd,
                            const std::function<Result<void>()>& action) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  fds.push_back(result_fd);
  close_all_but(std::move(fds));
  const Outcome outcome = outcome_of(action());
  [[maybe_unused]] const auto done = ::write(result_fd, &outcome, sizeof(outcome));
  ::_exit(0);
}

template <typename Call>
auto retry(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

}  // namespace

Result<void> in_own_process(std::vector<int> fds, const std::function<Result<void>()>& action) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "pipe2");
  const UniqueFd from_child(ends[0]);
  UniqueFd to_parent(ends[1]);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) run_child(parent, std::move(fds), to_parent.get(), action);
  if (child < 0) return errno_error(errno, "fork");
  to_parent.reset();
  Outcome outcome;
  const ssize_t got = retry([&] { return ::read(from_child.get(), &outcome, sizeof(outcome)); });
  retry([&] { return ::waitpid(child, nullptr, 0); });
  if (got != static_cast<ssize_t>(sizeof(outcome))) {
    return make_error(Errc::kCancelled, "a process of dedupd was killed");
  }
  if (outcome.ok) return {};
  return Error{outcome.code, outcome.sys_errno, outcome.context.data()};
}

}  // namespace dedup
