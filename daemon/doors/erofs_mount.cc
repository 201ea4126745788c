#include "doors/erofs_mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "doors/fs_context.h"
#include "doors/own_process.h"

namespace dedup {
namespace {

Error mount_error(const FsContext& fs, int number, const std::string& image) {
  const std::string message = fs.message();
  Error error =
      errno_error(number, "mount " + image + (message.empty() ? "" : " (" + message + ")"));
  if (number == ENODEV || number == EOPNOTSUPP || number == ENOTBLK) {
    error.code = Errc::kUnsupported;
    error.context +=
        ": this kernel cannot mount EROFS from a file (needs 6.12 with "
        "CONFIG_EROFS_FS_BACKED_BY_FILE)";
  }
  return error;
}

// mountinfo escapes space, tab, newline and backslash as \ooo.
std::string unescape(const std::string& text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain.push_back(static_cast<char>(std::strtol(text.substr(i + 1, 3).c_str(), nullptr, 8)));
      i += 3;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

}  // namespace

Result<void> mount_erofs(const std::string& image, const std::vector<std::string>& devices,
                         const std::string& mountpoint, bool directio) {
  FsContext fs("erofs");
  if (!fs.valid()) {
    Error error = errno_error(errno, "open the erofs file system type");
    error.code = Errc::kUnsupported;
    return error;
  }
  int number = fs.set("ro");
  if (number == 0) number = fs.set("source", image);
  for (const std::string& device : devices) {
    if (number == 0) number = fs.set("device", device);
  }
  if (number == 0 && directio) number = fs.set("directio");
  if (number == 0) number = fs.create();
  if (number != 0) return mount_error(fs, number, image);
  const UniqueFd mounted = fs.mount(kMountReadOnly);
  if (!mounted.valid()) return mount_error(fs, errno, image);
  number = attach_mount(mounted.get(), mountpoint);
  return number == 0 ? Result<void>() : errno_error(number, "mount at " + mountpoint);
}

Result<void> bind_read_only(const std::string& source, const std::string& target) {
  if (::mount(source.c_str(), target.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    return errno_error(errno, "bind " + source + " at " + target);
  }
  if (::mount(nullptr, target.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
    const int number = errno;
    ::umount2(target.c_str(), UMOUNT_NOFOLLOW);
    return errno_error(number, "make " + target + " read-only");
  }
  return {};
}

Result<void> unmount(const std::string& mountpoint) {
  return in_own_process({}, [&]() -> Result<void> {
    if (::umount2(mountpoint.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
    if (errno == EBUSY)
      return make_error(Errc::kExists, mountpoint + " is busy: stop what uses it first");
    if (errno == EINVAL) return make_error(Errc::kNotFound, mountpoint + " is not a mount point");
    return errno_error(errno, "unmount " + mountpoint);
  });
}

Result<void> unmount_lazily(const std::string& mountpoint) {
  return in_own_process({}, [&]() -> Result<void> {
    if (::umount2(mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return {};
    return errno_error(errno, "detach " + mountpoint);
  });
}

Result<std::set<std::string>> mount_points() {
  std::ifstream info("/proc/self/mountinfo");
  if (!info) return make_error(Errc::kIo, "/proc/self/mountinfo cannot be read");
  std::set<std::string> points;
  for (std::string line; std::getline(info, line);) {
    std::istringstream fields(line);
    std::string id;
    std::string parent;
    std::string device;
    std::string root;
    std::string point;
    if (fields >> id >> parent >> device >> root >> point) points.insert(unescape(point));
  }
  return points;
}

bool metadata_file_in_use(const std::string& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return false;
  return ::fcntl(fd.get(), F_SETLEASE, F_WRLCK) != 0;  // released by close
}

std::string copy_of_image(const std::string& image, int copy) {
  return copy == 0 ? image : image + "." + std::to_string(copy);
}

bool metadata_image_in_use(const std::string& image) {
  for (int copy = 0; copy < kMaxImageCopies; ++copy) {
    if (metadata_file_in_use(copy_of_image(image, copy))) return true;
  }
  return false;
}

void remove_metadata_image(const std::string& image) {
  for (int copy = 0; copy < kMaxImageCopies; ++copy) ::unlink(copy_of_image(image, copy).c_str());
}

}  // namespace dedup
