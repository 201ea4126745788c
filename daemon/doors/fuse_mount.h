// FuseMount: a FUSE file system for the daemon alone: /dev/fuse, and the root of the mount behind
// it. The mount is attached nowhere: nobody else can reach its files, no mount point is left when a
// daemon dies, and all of it ends with the last of its fds and of the files that EROFS has open.
// Both fds are with the keeper, so connection and mount outlive a worker. Owned by the door; any
// thread once open.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "doors/kept_link.h"

namespace dedup {

class FuseMount {
 public:
  // The one an earlier worker left with the keeper, or a new one, given to the keeper. Requests,
  // INIT first, wait in the kernel until someone reads them.
  //   errors  kUnsupported: no FUSE in this kernel
  static Result<FuseMount> open(KeptLink& link);
  // A new one that the keeper does not know.
  static Result<FuseMount> make();
  // Takes it from the keeper: the connection ends with this object, readers get EIO.
  static Result<void> forget(KeptLink& link);

  int device() const { return x_device.get(); }
  int root() const { return x_root.get(); }

  // For the kernel's mount options, in this process.
  std::string path_of(uint32_t segment) const;
  // Blocks until the door has answered, and no signal ends it: in a process of its own only.
  Result<UniqueFd> open_segment(uint32_t segment) const;

 private:
  FuseMount(UniqueFd device, UniqueFd root)
      : x_device(std::move(device)), x_root(std::move(root)) {}

  UniqueFd x_device;
  UniqueFd x_root;
};

// A connected /dev/fuse.
Result<UniqueFd> open_fuse_device();

}  // namespace dedup
