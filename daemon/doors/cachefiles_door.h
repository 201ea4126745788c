// CachefilesDoor: serves EROFS over fscache (Linux 5.19 - 7.1 with CACHEFILES_ONDEMAND and
// EROFS_FS_ONDEMAND). The kernel's cache file of a segment is the pool's segment, linked to where
// the kernel looks for it (cookie_files.h); the kernel takes every block of it that is no hole for
// present, and asks for the others. Hence the pool must write whole blocks
// (Pool::write_whole_blocks), and the size of an attached file never changes.
//
// Fails closed: without a holder of the device every read of missing bytes is EIO, and mounts do
// not come back. The keeper holds it, so a killed worker is not noticed: the next one writes
// `restore`, and all that was opened or asked for comes again.
#pragma once

#include <memory>

#include "doors/door_context.h"

namespace dedup {

class CachefilesDoor {
 public:
  // What is missing for a cache below `directory`, or ok. Binds one in a folder of its own there
  // for a moment; EROFS is not asked.
  static Result<void> supported(const std::string& directory);

  // Binds `cachefiles/` below context.directory, or takes the device an earlier worker bound.
  //   errors  kUnsupported: what is missing
  static Result<std::unique_ptr<Door>> open(const DoorContext& context);
};

}  // namespace dedup
