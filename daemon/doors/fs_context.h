// FsContext: one file system while it is being set up, with the mount API of Linux 5.2 (glibc 2.36
// wraps it, older ones do not). Numbers returned are 0 or errno. One thread at a time; blocks.
#pragma once

#include <string>

#include "base/unique_fd.h"

namespace dedup {

inline constexpr unsigned kMountReadOnly = 1;  // MOUNT_ATTR_*
inline constexpr unsigned kMountNoSuid = 2;
inline constexpr unsigned kMountNoDevices = 4;

class FsContext {
 public:
  // valid() is false, and errno says why, when the kernel has no file system `type`.
  explicit FsContext(const char* type);
  bool valid() const { return x_fd.valid(); }

  int set(const char* key, const std::string& value);
  int set(const char* flag);
  int create();  // the superblock; may read the device
  // The new mount, attached nowhere: it lasts as long as the fd and what was opened below it.
  // Invalid, and errno set, when it failed.
  UniqueFd mount(unsigned attributes);

  // The kernel's last message about this context ("erofs: ..."), or "".
  std::string message() const;

 private:
  int configure(unsigned command, const char* key, const char* value);
  UniqueFd x_fd;
};

// Puts a detached mount into the tree. 0 or errno.
int attach_mount(int mount_fd, const std::string& mountpoint);

}  // namespace dedup
