// What every door is built from. All borrowed; all outlive the door.
#pragma once

#include <string>

#include "base/log.h"
#include "doors/door.h"
#include "doors/kept_link.h"
#include "io/ring.h"
#include "io/workers.h"

namespace dedup {

struct DoorContext {
  Ring& ring;
  Workers& workers;
  Log& log;
  SegmentFiller& filler;
  KeptLink& link;
  std::string directory;  // of the daemon's data, on the pool's file system; a door may keep files
                          // in a folder of its name below it
};

}  // namespace dedup
