#include "doors/loop_device.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <cerrno>

namespace dedup {
namespace {

constexpr int kAttempts = 64;  // others look for a free device, too

loop_config config_of(int file, LoopReads reads) {
  loop_config config{};
  config.fd = static_cast<__u32>(file);
  config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
  if (reads == LoopReads::kDirect) config.info.lo_flags |= LO_FLAGS_DIRECT_IO;
  return config;
}

}  // namespace

Result<LoopDevice> LoopDevice::over(int file, LoopReads reads) {
  const UniqueFd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (!control.valid()) return Error{Errc::kUnsupported, errno, "CONFIG_BLK_DEV_LOOP"};
  const loop_config config = config_of(file, reads);
  int number = EBUSY;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const int index = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (index < 0) return errno_error(errno, "find a free loop device");
    std::string path = "/dev/loop" + std::to_string(index);
    UniqueFd device(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!device.valid()) return errno_error(errno, "open " + path);
    if (::ioctl(device.get(), LOOP_CONFIGURE, &config) == 0) {
      return LoopDevice(std::move(device), std::move(path));
    }
    number = errno;
    if (number != EBUSY) break;
  }
  return errno_error(number, "set up a loop device");
}

}  // namespace dedup
