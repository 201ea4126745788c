#include "kernel/erofs_mount.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/unique_fd.h"

extern "C" int umount2(const char* target, int flags) noexcept;  // <sys/mount.h> clashes

namespace dedup::test {
namespace {

constexpr int kDetach = 2;  // MNT_DETACH

Result<void> set_string(int context, const char* key, const std::string& value) {
  if (syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, value.c_str(), 0) == 0) return {};
  return errno_error(errno, std::string("erofs option ") + key + "=" + value);
}

}  // namespace

Result<ErofsMount> ErofsMount::mount(const std::string& image,
                                     const std::vector<std::string>& devices,
                                     const std::string& target) {
  const UniqueFd context(static_cast<int>(syscall(SYS_fsopen, "erofs", FSOPEN_CLOEXEC)));
  if (!context.valid()) return errno_error(errno, "fsopen erofs");
  TRY(set_string(context.get(), "source", image));
  for (const auto& device : devices) TRY(set_string(context.get(), "device", device));
  if (syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_FLAG, "ro", nullptr, 0) != 0) {
    return errno_error(errno, "erofs ro");
  }
  if (syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return errno_error(errno, "erofs superblock of " + image);
  }
  const UniqueFd mount(
      static_cast<int>(syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY)));
  if (!mount.valid()) return errno_error(errno, "fsmount");
  if (syscall(SYS_move_mount, mount.get(), "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) !=
      0) {
    return errno_error(errno, "move_mount " + target);
  }
  return ErofsMount(target);
}

ErofsMount::~ErofsMount() {
  if (!x_target.empty()) unmount(x_target);
}

void unmount(const std::string& target) {
  if (umount2(target.c_str(), 0) != 0) umount2(target.c_str(), kDetach);
}

}  // namespace dedup::test
