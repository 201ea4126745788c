// FuseDoor: one FUSE file per segment, read by EROFS as a device, and the door answers each READ
// with bytes that are present and verified. For every kernel that has FUSE and EROFS with devices
// (5.19+). Where EROFS cannot be mounted from files (before 6.12) a loop device stands between.
//
// It fails CLOSED: without a daemon readers get EIO. The price is that the bytes of incomplete
// segments pass through the daemon. A segment that is complete when an image is mounted is given to
// the kernel as its plain data file and never comes here. (FUSE passthrough would earn nothing:
// EROFS opens its devices once, at the mount.)
//
// Crash safety, on every kernel: the buffer of read(2) is a slot of the keeper's journal. Order:
// read into a slot, answer, zero the slot. The next worker first answers every slot in use; what
// was answered already the kernel refuses with ENOENT. There is no other state. FUSE_NOTIFY_RESEND
// (6.9+) is not needed: it would bring the same requests again, and on no older kernel.
//
// Not FUSE over io_uring (6.14+, off unless the administrator switches it on): measured on 6.18, a
// 4 KiB O_DIRECT read took it 5.2 us (p50) and read(2) with writev(2) 4.6 us, in one run by turns.
#pragma once

#include <memory>
#include <string>

#include "doors/door_context.h"

namespace dedup {

struct FuseDoorOptions {
  bool always_loop_devices = false;  // also where EROFS could be mounted from files
};

class FuseDoor {
 public:
  // Which kernel features are missing, or ok. Makes a temporary file in `directory`.
  static Result<void> supported(const std::string& directory);

  // Makes the FUSE mount, or takes over that of an earlier worker. Reads no requests before
  // start(). Complete segments must be attached, too: images mounted before they were complete read
  // them here. stop() is for good: the connection ends with the door.
  static Result<std::unique_ptr<Door>> open(const DoorContext& context,
                                            FuseDoorOptions options = {});
};

}  // namespace dedup
