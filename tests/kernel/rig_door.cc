#include "kernel/rig_door.h"

#include <unistd.h>

#include "doors/cachefiles_door.h"
#include "doors/fanotify_door.h"
#include "doors/fuse_door.h"
#include "kernel/lazy_image.h"

namespace dedup::test {

const char* name_of(RigDoor kind) {
  switch (kind) {
    case RigDoor::kCachefiles:
      return "cachefiles";
    case RigDoor::kFanotify:
      return "fanotify";
    case RigDoor::kFuse:
      return "fuse";
    case RigDoor::kFuseLoops:
      return "fuseloops";
  }
  return "?";
}

std::optional<RigDoor> rig_door_named(std::string_view name) {
  for (const RigDoor kind : kRigDoors) {
    if (name == name_of(kind)) return kind;
  }
  return std::nullopt;
}

Result<void> supported(RigDoor kind) {
  const ScratchDirectory directory;
  if (kind == RigDoor::kCachefiles) return CachefilesDoor::supported(directory.path());
  if (kind == RigDoor::kFanotify) return FanotifyDoor::supported(directory.path());
  if (kind == RigDoor::kFuseLoops && ::access("/dev/loop-control", R_OK | W_OK) != 0) {
    return make_error(Errc::kUnsupported, "CONFIG_BLK_DEV_LOOP");
  }
  return FuseDoor::supported(directory.path());
}

Result<std::unique_ptr<Door>> open_rig_door(RigDoor kind, const DoorContext& context) {
  if (kind == RigDoor::kCachefiles) return CachefilesDoor::open(context);
  if (kind == RigDoor::kFanotify) return FanotifyDoor::open(context);
  return FuseDoor::open(context, {.always_loop_devices = kind == RigDoor::kFuseLoops});
}

}  // namespace dedup::test
