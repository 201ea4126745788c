#include "keeper/holder_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "doors/kept_mapping.h"

namespace dedup {
namespace {

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

// Numbered entries of a /proc directory; `visit(number)` for each.
template <typename Visit>
bool for_numbers(int directory_fd, Visit visit) {
  const Directory directory(fdopendir(directory_fd), closedir);
  if (directory == nullptr) {
    ::close(directory_fd);
    return false;
  }
  while (const dirent* entry = readdir(directory.get())) {
    char* end = nullptr;
    const long number = std::strtol(entry->d_name, &end, 10);
    if (end != entry->d_name && *end == '\0') visit(static_cast<int>(number));
  }
  return true;
}

}  // namespace

HolderProcess::Numbers HolderProcess::look_into(const std::string& fds, const struct stat& lock) {
  const std::string state_name = std::string("/memfd:") + KeptMapping::kName;
  Numbers found;
  const int directory = open(fds.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return found;
  for_numbers(directory, [&](int number) {
    const std::string path = fds + "/" + std::to_string(number);
    std::array<char, 4096> target;
    const ssize_t length = readlink(path.c_str(), target.data(), target.size());
    if (length <= 0) return;
    const std::string_view text(target.data(), static_cast<size_t>(length));
    struct stat status {};
    if (text.starts_with(state_name)) {
      found.state = number;
    } else if (text.ends_with("/lock") && stat(path.c_str(), &status) == 0) {
      if (status.st_dev == lock.st_dev && status.st_ino == lock.st_ino) found.lock = number;
    }
  });
  return found;
}

Result<std::vector<HolderProcess>> HolderProcess::all_of(int lock_fd) {
  struct stat lock {};
  if (fstat(lock_fd, &lock) != 0) return errno_error(errno, "fstat of the lock");
  std::vector<HolderProcess> holders;
  const int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (proc < 0) return errno_error(errno, "/proc");
  for_numbers(proc, [&](int pid) {
    if (pid == getpid()) return;
    // The pidfd first: what is looked at below is then the process it names, or nobody.
    UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    if (!pidfd.valid()) return;
    const Numbers found = look_into("/proc/" + std::to_string(pid) + "/fd", lock);
    if (found.lock >= 0 && found.state >= 0) {
      holders.push_back(HolderProcess(pid, std::move(pidfd), found));
    }
  });
  return holders;
}

Result<UniqueFd> HolderProcess::take(int number) const {
  UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_getfd, x_pidfd.get(), number, 0)));
  if (fd.valid()) return fd;
  const std::string what = "fd " + std::to_string(number) + " of process " + std::to_string(x_pid);
  const int status = errno;
  if (status == EBADF || status == ESRCH) return Error{Errc::kNotFound, status, what};
  if (status == EPERM) return Error{Errc::kDenied, status, what};
  return errno_error(status, what);
}

Result<void> HolderProcess::end(std::chrono::milliseconds longest) const {
  if (syscall(SYS_pidfd_send_signal, x_pidfd.get(), SIGKILL, nullptr, 0) != 0 && errno != ESRCH) {
    return errno_error(errno, "kill process " + std::to_string(x_pid));
  }
  pollfd ended{x_pidfd.get(), POLLIN, 0};
  if (poll(&ended, 1, static_cast<int>(longest.count())) == 1) return {};
  return make_error(Errc::kUnavailable, "process " + std::to_string(x_pid) + " does not end");
}

}  // namespace dedup
