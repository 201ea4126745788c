#include "doors/fuse_mount.h"

#include <fcntl.h>
#include <poll.h>

#include <cerrno>

#include "doors/fs_context.h"
#include "doors/fuse_protocol.h"

namespace dedup {
namespace {

UniqueFd copy_of(int fd) {
  return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

bool connected(int device) {
  pollfd state{device, POLLIN, 0};
  return ::poll(&state, 1, 0) >= 0 && (state.revents & (POLLERR | POLLNVAL)) == 0;
}

}  // namespace

Result<UniqueFd> open_fuse_device() {
  UniqueFd device(::open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (device.valid()) return device;
  if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
    return Error{Errc::kUnsupported, errno, "CONFIG_FUSE_FS"};
  }
  return errno_error(errno, "open /dev/fuse");
}

Result<FuseMount> FuseMount::open(KeptLink& link) {
  const int device = link.kept_device(kKeptFuse);
  const int root = link.kept_device(kKeptFuseRoot);
  if (device >= 0 && root >= 0 && connected(device)) {
    FuseMount mount(copy_of(device), copy_of(root), true);
    if (mount.x_device.valid() && mount.x_root.valid()) return mount;
    return errno_error(EMFILE, "take over the FUSE connection");
  }
  // A worker died between making and keeping, or the connection was aborted.
  TRY(forget(link));
  TRY(made, make());
  // The device last: it alone keeps the connection, a root without it is dropped above.
  TRY(link.keep(kKeptFuseRoot, made.x_root.get()));
  TRY(link.keep(kKeptFuse, made.x_device.get()));
  return made;
}

// No allow_other: only root may look up and open, which the mount of an image does. What EROFS and
// loop devices then read for others is not asked again.
Result<FuseMount> FuseMount::make() {
  TRY(device, open_fuse_device());
  FsContext fs("fuse");
  if (!fs.valid()) return Error{Errc::kUnsupported, errno, "the file system type fuse"};
  int number = fs.set("source", "dedupd");
  if (number == 0) number = fs.set("fd", std::to_string(device.get()));
  if (number == 0) number = fs.set("rootmode", "40000");
  if (number == 0) number = fs.set("user_id", "0");
  if (number == 0) number = fs.set("group_id", "0");
  if (number == 0) number = fs.set("ro");
  if (number == 0) number = fs.create();
  if (number != 0) return errno_error(number, "mount FUSE (" + fs.message() + ")");
  UniqueFd root = fs.mount(kMountReadOnly | kMountNoSuid | kMountNoDevices);
  if (!root.valid()) return errno_error(errno, "mount FUSE");
  return FuseMount(std::move(device), std::move(root), false);
}

Result<void> FuseMount::forget(KeptLink& link) {
  TRY(link.drop(kKeptFuse));
  return link.drop(kKeptFuseRoot);
}

std::string FuseMount::path_of(uint32_t segment) const {
  return "/proc/self/fd/" + std::to_string(x_root.get()) + "/" + fuse_name(segment);
}

Result<UniqueFd> FuseMount::open_segment(uint32_t segment) const {
  UniqueFd fd(::openat(x_root.get(), fuse_name(segment).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return errno_error(errno, "open segment " + std::to_string(segment));
  return fd;
}

}  // namespace dedup
