// LoopDevice: a read-only block device over an open file, for kernels whose EROFS cannot be mounted
// from files (before 6.12). It clears itself: gone with its last user, this object or a mount.
// Any thread; blocks.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace dedup {

// How the driver reads the file. Through the page cache it has one read in flight per device and
// cgroup, and the others wait for it: a missing range of a lazy file must not do that to them.
enum class LoopReads : uint8_t { kCached, kDirect };

class LoopDevice {
 public:
  // file: of a multiple of 512 bytes; borrowed during the call.
  //   errors  kUnsupported: no loop driver
  static Result<LoopDevice> over(int file, LoopReads reads);
  const std::string& path() const { return x_path; }

 private:
  LoopDevice(UniqueFd fd, std::string path) : x_fd(std::move(fd)), x_path(std::move(path)) {}
  UniqueFd x_fd;
  std::string x_path;
};

}  // namespace dedup
