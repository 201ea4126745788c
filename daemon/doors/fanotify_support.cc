// FanotifyDoor::supported: asks the kernel itself, feature by feature.
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <vector>

#include "doors/fanotify_door.h"
#include "doors/fanotify_group.h"

namespace dedup {
namespace {

// A file in `directory` that ends with this object.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& directory) : x_path(directory + "/door-probe-XXXXXX") {
    x_fd = UniqueFd(mkostemp(x_path.data(), O_CLOEXEC));
  }
  ~TemporaryFile() {
    if (x_fd.valid()) unlink(x_path.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  int fd() const { return x_fd.get(); }
  const std::string& path() const { return x_path; }

 private:
  std::string x_path;
  UniqueFd x_fd;
};

// What is missing for an EROFS mount whose image is a regular file; empty: nothing. fsopen loads
// the module where there is one. An empty file is refused as not EROFS (EINVAL) where file-backed
// mounts are built in, and as not a block device (ENOTBLK) where they are not.
std::string missing_erofs(const std::string& path) {
  const UniqueFd context(static_cast<int>(syscall(SYS_fsopen, "erofs", FSOPEN_CLOEXEC)));
  if (!context.valid()) {
    if (errno == ENODEV) return "CONFIG_EROFS_FS";
    return errno_error(errno, "fsopen of erofs").to_string();
  }
  if (syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, "source", path.c_str(), 0) != 0) {
    return errno_error(errno, "fsconfig of erofs").to_string();
  }
  syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_FLAG, "ro", nullptr, 0);
  if (syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0)
    return {};
  return errno == ENOTBLK ? "CONFIG_EROFS_FS_BACKED_BY_FILE" : "";
}

}  // namespace

Result<void> FanotifyDoor::supported(const std::string& directory) {
  const TemporaryFile file(directory);
  if (file.fd() < 0) return errno_error(errno, "temporary file in " + directory);
  std::vector<std::string> missing;
  Errc code = Errc::kUnsupported;
  const auto note = [&](const Error& error) {
    missing.push_back(error.context);
    code = error.code;
  };
  if (const auto group = make_fanotify_group(); !group.ok()) {
    note(group.error());
  } else if (const auto mark = add_pre_access_mark(group->get(), file.fd()); !mark.ok()) {
    note(mark.error());
  }
  if (auto erofs = missing_erofs(file.path()); !erofs.empty()) missing.push_back(std::move(erofs));
  if (missing.empty()) return {};

  std::string list;
  for (const auto& feature : missing) list += (list.empty() ? "" : ", ") + feature;
  return make_error(code,
                    "the fanotify door needs root, kernel 6.14+ with "
                    "CONFIG_FANOTIFY_ACCESS_PERMISSIONS and CONFIG_EROFS_FS_BACKED_BY_FILE, and a "
                    "pool on ext4, xfs or btrfs; missing here: " +
                        list);
}

}  // namespace dedup
