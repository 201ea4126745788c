#include "doors/fs_context.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include <cerrno>

namespace dedup {
namespace {

// <linux/mount.h> clashes with <sys/mount.h> of some C libraries.
constexpr unsigned kCloseOnExec = 1;  // FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
constexpr unsigned kSetFlag = 0;
constexpr unsigned kSetString = 1;
constexpr unsigned kCreate = 6;
constexpr unsigned kMoveFromEmptyPath = 4;

}  // namespace

FsContext::FsContext(const char* type)
    : x_fd(static_cast<int>(::syscall(SYS_fsopen, type, kCloseOnExec))) {}

int FsContext::configure(unsigned command, const char* key, const char* value) {
  return ::syscall(SYS_fsconfig, x_fd.get(), command, key, value, 0) == 0 ? 0 : errno;
}

int FsContext::set(const char* key, const std::string& value) {
  return configure(kSetString, key, value.c_str());
}

int FsContext::set(const char* flag) {
  return configure(kSetFlag, flag, nullptr);
}

int FsContext::create() {
  return configure(kCreate, nullptr, nullptr);
}

UniqueFd FsContext::mount(unsigned attributes) {
  return UniqueFd(static_cast<int>(::syscall(SYS_fsmount, x_fd.get(), kCloseOnExec, attributes)));
}

// A message starts with its kind, one letter, and a space.
std::string FsContext::message() const {
  char text[512];
  const ssize_t length = ::read(x_fd.get(), text, sizeof(text));
  return length <= 2 ? std::string() : std::string(text + 2, static_cast<size_t>(length) - 2);
}

int attach_mount(int mount_fd, const std::string& mountpoint) {
  return ::syscall(SYS_move_mount, mount_fd, "", AT_FDCWD, mountpoint.c_str(),
                   kMoveFromEmptyPath) == 0
             ? 0
             : errno;
}

}  // namespace dedup
