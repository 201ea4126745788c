#include "doors/fanotify_group.h"

#include <fcntl.h>
#include <sys/fanotify.h>

#include <cerrno>

#include "doors/fanotify_abi.h"

namespace dedup {

Result<UniqueFd> make_fanotify_group() {
  UniqueFd group(fanotify_init(FAN_CLASS_PRE_CONTENT | FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS |
                                   FAN_CLOEXEC | FAN_NONBLOCK,
                               O_RDWR | O_LARGEFILE | O_CLOEXEC));
  if (group.valid()) return group;
  switch (const int number = errno) {
    case ENOSYS:
      return Error{Errc::kUnsupported, number, "CONFIG_FANOTIFY"};
    case EINVAL:
      return Error{Errc::kUnsupported, number, "CONFIG_FANOTIFY_ACCESS_PERMISSIONS"};
    case EPERM:
      return Error{Errc::kDenied, number, "CAP_SYS_ADMIN"};
    case EMFILE:
      return Error{Errc::kUnavailable, number,
                   "a free fanotify group (fs.fanotify.max_user_groups)"};
    default:
      return errno_error(number, "fanotify_init");
  }
}

Result<void> add_pre_access_mark(int group_fd, int fd) {
  if (fanotify_mark(group_fd, FAN_MARK_ADD, FAN_PRE_ACCESS, fd, nullptr) == 0) return {};
  switch (const int number = errno) {
    case EINVAL:
      return Error{Errc::kUnsupported, number, "FAN_PRE_ACCESS (kernel 6.14)"};
    case EOPNOTSUPP:
      return Error{Errc::kUnsupported, number,
                   "pre-access events on this file system (ext4, xfs and btrfs have them)"};
    default:
      return errno_error(number, "fanotify_mark");
  }
}

Result<void> remove_pre_access_mark(int group_fd, int fd) {
  if (fanotify_mark(group_fd, FAN_MARK_REMOVE, FAN_PRE_ACCESS, fd, nullptr) == 0) return {};
  if (errno == ENOENT) return {};
  return errno_error(errno, "fanotify_mark remove");
}

}  // namespace dedup
