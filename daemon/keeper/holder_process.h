// HolderProcess: another process that holds the lock of a root and the kernel fds of a dedupd: a
// keeper that runs, or the witness or the worker of one that died. Its fds can be taken out of it
// whatever state it is in, even stopped: it need not answer anything (pidfd_getfd(2), 5.6; it wants
// the right to ptrace). The keeper's start; any thread.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace dedup {

class HolderProcess {
 public:
  // Every process but this one that has both the file behind `lock_fd` and a kept state open.
  static Result<std::vector<HolderProcess>> all_of(int lock_fd);

  pid_t pid() const { return x_pid; }
  // Numbers of its fds.
  int state_number() const { return x_numbers.state; }
  int lock_number() const { return x_numbers.lock; }

  // A dup of its fd `number`.
  //   errors  kNotFound: it is dead, or has no such fd; kDenied: ptrace is forbidden here
  Result<UniqueFd> take(int number) const;
  // Kills it; ok once its threads are gone and its fds are closed.
  Result<void> end(std::chrono::milliseconds longest) const;

 private:
  struct Numbers {
    int lock = -1;
    int state = -1;
  };
  HolderProcess(pid_t pid, UniqueFd pidfd, Numbers numbers)
      : x_pid(pid), x_pidfd(std::move(pidfd)), x_numbers(numbers) {}
  static Numbers look_into(const std::string& fds, const struct stat& lock);

  pid_t x_pid;
  UniqueFd x_pidfd;
  Numbers x_numbers;
};

}  // namespace dedup
