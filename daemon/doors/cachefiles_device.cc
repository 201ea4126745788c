#include "doors/cachefiles_device.h"

#include <fcntl.h>
#include <linux/cachefiles.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <thread>

namespace dedup {
namespace {

constexpr const char* kDevice = "/dev/cachefiles";
constexpr long kXfsMagic = 0x58465342;
constexpr int kOpenAttempts = 10;
constexpr std::chrono::milliseconds kOpenPause{50};

Error unsupported(std::string what) {
  return make_error(Errc::kUnsupported, std::move(what));
}

}  // namespace

// The kernel reads and writes its cache with O_DIRECT and finds holes with SEEK_DATA.
Result<void> check_cachefiles_directory(const std::string& directory) {
  struct statfs status {};
  if (::statfs(directory.c_str(), &status) != 0) return errno_error(errno, "statfs " + directory);
  for (const long magic : {long{EXT4_SUPER_MAGIC}, kXfsMagic, long{BTRFS_SUPER_MAGIC}}) {
    if (status.f_type == magic) return {};
  }
  return unsupported("the cache of cachefiles needs ext4, xfs or btrfs, and " + directory +
                     " is on another file system");
}

Result<UniqueFd> open_cachefiles() {
  for (int attempt = 1;; ++attempt) {
    UniqueFd device(::open(kDevice, O_RDWR | O_CLOEXEC | O_NONBLOCK));
    if (device.valid()) return device;
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
      return unsupported(std::string(kDevice) +
                         " is not there: the kernel has no cachefiles, or its module is not loaded "
                         "(modprobe cachefiles)");
    }
    if (errno != EBUSY) {
      return unsupported(errno_error(errno, std::string("open ") + kDevice).to_string());
    }
    if (attempt == kOpenAttempts) {
      return unsupported(std::string("another process holds ") + kDevice +
                         ", and the kernel allows one: stop it (cachefilesd, nydusd, a dedupd)");
    }
    std::this_thread::sleep_for(kOpenPause);  // a holder that was killed may not be gone yet
  }
}

Result<void> bind_cachefiles(int device, const std::string& directory) {
  // We write the cache ourselves, so the kernel needs no space left for it. Lowest limits first:
  // each must stay between its neighbours.
  for (const char* command :
       {"bstop 0%", "bcull 1%", "brun 2%", "fstop 0%", "fcull 1%", "frun 2%", "tag dedupd"}) {
    TRY(write_cachefiles_command(device, command));
  }
  TRY(write_cachefiles_command(device, "dir " + directory));
  const auto bound = write_cachefiles_command(device, "bind ondemand");
  if (bound.ok()) return {};
  if (bound.error().sys_errno == EINVAL) {
    return unsupported("this kernel is built without CONFIG_CACHEFILES_ONDEMAND");
  }
  return unsupported("cachefiles cannot use " + directory + ": " + bound.error().to_string());
}

Result<void> write_cachefiles_command(int device, const std::string& command) {
  if (::write(device, command.data(), command.size()) == static_cast<ssize_t>(command.size())) {
    return {};
  }
  return errno_error(errno, "cachefiles command \"" + command + "\"");
}

Result<std::optional<CachefilesMessage>> read_cachefiles_message(int device) {
  alignas(8) std::array<std::byte, kCachefilesMessageBytes> buffer;
  const ssize_t got = ::read(device, buffer.data(), buffer.size());
  if (got == 0) return std::optional<CachefilesMessage>();
  if (got < 0) return errno_error(errno, std::string("read ") + kDevice);
  TRY(message, parse_cachefiles_message(std::span(buffer).first(static_cast<size_t>(got))));
  if (const auto* open = std::get_if<CachefilesOpen>(&message)) {
    ::fcntl(open->fd, F_SETFD, FD_CLOEXEC);
  }
  return std::optional(std::move(message));
}

Result<void> complete_cachefiles_read(int object, uint32_t message) {
  if (::ioctl(object, CACHEFILES_IOC_READ_COMPLETE, message) == 0) return {};
  return errno_error(errno, "end of a cachefiles READ");
}

}  // namespace dedup
