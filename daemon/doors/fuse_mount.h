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
  // Takes it from the keeper: the connection ends with this object, readers get EIO.
  static Result<void> forget(KeptLink& link);

  int device() const { return x_device.get(); }
  // Made by an earlier worker.
  bool inherited() const { return x_inherited; }

  // For the kernel's mount options, in this process.
  std::string path_of(uint32_t segment) const;
  // Blocks until the door has answered: never on the loop thread.
  Result<UniqueFd> open_segment(uint32_t segment) const;

 private:
  FuseMount(UniqueFd device, UniqueFd root, bool inherited)
      : x_device(std::move(device)), x_root(std::move(root)), x_inherited(inherited) {}
  static Result<FuseMount> make();

  UniqueFd x_device;
  UniqueFd x_root;
  bool x_inherited;
};

// A connected /dev/fuse.
Result<UniqueFd> open_fuse_device();

}  // namespace dedup
