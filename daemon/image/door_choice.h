// choose_door: which of the kernel's interfaces this node uses: the first, in the order cachefiles,
// fanotify, FUSE, that works when it is tried for real (door_trial.h). Loop thread.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "doors/door_context.h"
#include "image/door_trial.h"

namespace dedup {

enum class DoorKind : uint8_t { kCachefiles = 1, kFanotify = 2, kFuse = 3 };
inline constexpr DoorKind kDoorKinds[] = {DoorKind::kCachefiles, DoorKind::kFanotify,
                                          DoorKind::kFuse};
const char* name_of(DoorKind kind);

// Opens without a trial: for the workers after the first.
//   errors  kUnsupported: what this kernel lacks
Result<std::unique_ptr<Door>> open_door(DoorKind kind, const DoorContext& context);

struct DoorVerdict {
  DoorKind kind{};
  bool usable = false;
  std::string reason;  // what was tried and worked, or what is missing
};

struct ChosenDoor {
  DoorKind kind{};
  std::unique_ptr<Door> door;  // started; null: none works
  std::vector<DoorVerdict> verdicts;

  // One sentence about those that do not work.
  std::string refusals() const;
};

// kinds     in order of preference
// all       tries every kind, to report on each; else stops at the first that works
// trial     answers for DoorTrial::kSegment in context.filler
Task<ChosenDoor> choose_door(std::span<const DoorKind> kinds, bool all, const DoorContext& context,
                             DoorTrial& trial);

}  // namespace dedup
