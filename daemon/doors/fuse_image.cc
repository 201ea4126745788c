#include "doors/fuse_image.h"

#include <fcntl.h>

#include <cerrno>
#include <vector>

#include "doors/erofs_mount.h"
#include "doors/fuse_door.h"
#include "doors/loop_device.h"

namespace dedup {
namespace {

Result<UniqueFd> open_plain(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return errno_error(errno, "open " + path);
  return fd;
}

Result<LoopDevice> loop_over(const FuseMount& fuse, const DoorSegment& segment) {
  if (segment.complete) {
    TRY(file, open_plain(segment.path));
    return LoopDevice::over(file.get(), LoopReads::kCached);
  }
  TRY(file, fuse.open_segment(segment.id));
  return LoopDevice::over(file.get(), LoopReads::kDirect);
}

// The mount keeps the devices; they clear themselves after it, or here when there is none.
Result<void> mount_through_loops(const FuseMount& fuse, const DoorMount& mount) {
  TRY(file, open_plain(mount.image));
  TRY(image, LoopDevice::over(file.get(), LoopReads::kCached));
  std::vector<LoopDevice> loops;
  std::vector<std::string> devices;
  for (const DoorSegment& segment : mount.segments) {
    TRY(loop, loop_over(fuse, segment));
    devices.push_back(loop.path());
    loops.push_back(std::move(loop));
  }
  return mount_erofs(image.path(), devices, mount.mountpoint, false);
}

}  // namespace

Result<ErofsBacking> fuse_door_backing(const std::string& directory) {
  const TemporaryFile file(directory);
  if (file.fd() < 0) return errno_error(errno, "temporary file in " + directory);
  const auto backing = erofs_backing(file.path());
  std::string missing;
  Errc code = Errc::kUnsupported;
  if (!backing.ok()) missing = backing.error().context;
  if (const auto device = open_fuse_device(); !device.ok()) {
    missing += (missing.empty() ? "" : ", ") + device.error().to_string();
    code = device.error().code;
  }
  const bool loops = backing.ok() && *backing == ErofsBacking::kBlockDevice;
  if (loops && ::access("/dev/loop-control", R_OK | W_OK) != 0) {
    missing += std::string(missing.empty() ? "" : ", ") + "CONFIG_BLK_DEV_LOOP";
  }
  if (missing.empty()) return *backing;
  return make_error(code,
                    "the FUSE door needs root, kernel 5.19+ with CONFIG_FUSE_FS and "
                    "CONFIG_EROFS_FS, and before 6.12 CONFIG_BLK_DEV_LOOP; missing here: " +
                        missing);
}

Result<void> FuseDoor::supported(const std::string& directory) {
  auto backing = fuse_door_backing(directory);
  return backing.ok() ? Result<void>() : std::move(backing).error();
}

Result<void> mount_image(const FuseMount& fuse, const DoorMount& mount, ErofsBacking backing) {
  if (backing == ErofsBacking::kBlockDevice) return mount_through_loops(fuse, mount);
  std::vector<std::string> devices;
  for (const DoorSegment& segment : mount.segments) {
    devices.push_back(segment.complete ? segment.path : fuse.path_of(segment.id));
  }
  return mount_erofs(mount.image, devices, mount.mountpoint, mount.directio);
}

}  // namespace dedup
