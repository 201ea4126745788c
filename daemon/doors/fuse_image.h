// How an image whose incomplete segments are FUSE files is mounted: from files, or through loop
// devices. Any thread; blocks, mount_image() until the door has answered: never on the loop thread.
#pragma once

#include "doors/door.h"
#include "doors/erofs_support.h"
#include "doors/fuse_mount.h"

namespace dedup {

// What images are mounted from here, when all the FUSE door needs is there.
//   errors  kUnsupported: what this kernel lacks
Result<ErofsBacking> fuse_door_backing(const std::string& directory);

// See Door::mount. directio is for mounts from files only.
Result<void> mount_image(const FuseMount& fuse, const DoorMount& mount, ErofsBacking backing);

}  // namespace dedup
