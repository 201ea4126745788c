// FanotifyDoor: serves FAN_PRE_ACCESS events (6.14+) of pool segments that a file-backed EROFS
// mount reads through. It is fed by the groups the keeper owns, so events outlive a worker.
//
// fanotify fails OPEN: without a group, or with a mark made after the mount, a reader gets zeros.
// Hence: attach() before the mount, probe() before the mount is published, an answer for every
// event on every path, errno whitelist.
#pragma once

#include <memory>
#include <string>

#include "doors/door_context.h"

namespace dedup {

class FanotifyDoor {
 public:
  // Which kernel features are missing, or ok. Makes and closes a group of its own, marks a
  // temporary file in `directory`.
  static Result<void> supported(const std::string& directory);

  // context.link: groups and journal. Does not read events yet. attach() puts the mark, and
  // gives the keeper an fd from before it; start() first occupies the fd numbers of events a dead
  // worker had read, then reads new events while those are settled; probe() denies its event, so
  // that nothing is cached.
  static Result<std::unique_ptr<Door>> open(const DoorContext& context);
};

}  // namespace dedup
