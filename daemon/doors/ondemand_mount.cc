#include "doors/ondemand_mount.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/unique_fd.h"

namespace dedup {
namespace {

constexpr int kReportFd = 3;

struct Report {
  int error = 0;          // errno, 0 = mounted
  const char* step = "";  // points into the program, which is the same on both sides of fork
};

// All that runs between fork and _exit: system calls only.
class MountSteps {
 public:
  MountSteps(const OndemandMount& mount, pid_t worker) : x_mount(mount), x_worker(worker) {}

  Report run() {
    const int context = call(SYS_fsopen, "erofs", 0);
    if (context < 0) return failed("open the erofs file system type");
    if (!set(context, "fsid", x_mount.fsid.c_str())) return failed("option fsid");
    if (!set(context, "domain_id", x_mount.domain.c_str())) return failed("option domain_id");
    for (const std::string& device : x_mount.devices) {
      if (!set(context, "device", device.c_str())) return failed("option device");
    }
    if (call(SYS_fsconfig, context, FSCONFIG_SET_FLAG, "ro", nullptr, 0) < 0) return failed("ro");
    if (call(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0) {
      return failed("superblock");
    }
    const int mounted = call(SYS_fsmount, context, 0, MOUNT_ATTR_RDONLY);
    if (mounted < 0) return failed("fsmount");
    // Nobody would know of it: it goes with this process.
    if (::getppid() != x_worker) return {ECANCELED, "the worker is gone"};
    if (call(SYS_move_mount, mounted, "", AT_FDCWD, x_mount.mountpoint.c_str(),
             MOVE_MOUNT_F_EMPTY_PATH) < 0) {
      return failed("mount point");
    }
    return {};
  }

 private:
  template <typename... A>
  static int call(long number, A... arguments) {
    return static_cast<int>(::syscall(number, arguments...));
  }
  static bool set(int context, const char* key, const char* value) {
    return call(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, value, 0) == 0;
  }
  static Report failed(const char* step) { return {errno, step}; }

  const OndemandMount& x_mount;
  const pid_t x_worker;
};

// Without our fds: those of cookies would keep them open for a worker that is dead.
[[noreturn]] void become_mounter(const OndemandMount& mount, pid_t worker, int report_fd) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::dup2(report_fd, kReportFd) != kReportFd) ::_exit(1);
  ::syscall(SYS_close_range, kReportFd + 1, ~0U, 0);
  const Report report = MountSteps(mount, worker).run();
  ::_exit(::write(kReportFd, &report, sizeof(report)) == sizeof(report) ? 0 : 1);
}

Error mount_error(const OndemandMount& mount, const Report& report) {
  Error error =
      errno_error(report.error, "mount " + mount.fsid + " on demand (" + report.step + ")");
  const bool option = std::string_view(report.step).starts_with("option");
  if (error.sys_errno == ENODEV || error.sys_errno == EOPNOTSUPP ||
      (option && error.sys_errno == EINVAL)) {
    error.code = Errc::kUnsupported;
    error.context += ": this kernel's EROFS has no fscache mode (CONFIG_EROFS_FS_ONDEMAND)";
  }
  return error;
}

}  // namespace

Result<void> mount_ondemand(const OndemandMount& mount) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "pipe");
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  const pid_t worker = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return errno_error(errno, "fork");
  if (child == 0) become_mounter(mount, worker, writing.get());
  writing.reset();
  Report report{EIO, "the mounting process died"};
  ssize_t got = 0;
  do {
    got = ::read(reading.get(), &report, sizeof(report));
  } while (got < 0 && errno == EINTR);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (report.error == 0) return {};
  return mount_error(mount, report);
}

}  // namespace dedup
