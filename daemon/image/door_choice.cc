#include "image/door_choice.h"

#include "doors/cachefiles_door.h"
#include "doors/fanotify_door.h"
#include "doors/fuse_door.h"

namespace dedup {
namespace {

Task<Result<void>> try_door(Door& door, DoorTrial& trial) {
  door.start();
  co_return co_await trial.run(door);
}

}  // namespace

const char* name_of(DoorKind kind) {
  switch (kind) {
    case DoorKind::kCachefiles:
      return "cachefiles";
    case DoorKind::kFanotify:
      return "fanotify";
    case DoorKind::kFuse:
      return "fuse";
  }
  return "?";
}

Result<std::unique_ptr<Door>> open_door(DoorKind kind, const DoorContext& context) {
  switch (kind) {
    case DoorKind::kFanotify:
      return FanotifyDoor::open(context);
    case DoorKind::kCachefiles:
      return CachefilesDoor::open(context);
    case DoorKind::kFuse:
      return FuseDoor::open(context);
  }
  return make_error(Errc::kInvalid, "no such door");
}

std::string ChosenDoor::refusals() const {
  std::string text;
  for (const DoorVerdict& verdict : verdicts) {
    if (verdict.usable) continue;
    text += (text.empty() ? "" : "; ") + std::string(name_of(verdict.kind)) + ": " + verdict.reason;
  }
  return text;
}

Task<ChosenDoor> choose_door(std::span<const DoorKind> kinds, bool all, const DoorContext& context,
                             DoorTrial& trial) {
  ChosenDoor chosen;
  for (const DoorKind kind : kinds) {
    auto opened = open_door(kind, context);
    Result<void> outcome = opened.ok() ? Result<void>() : opened.error();
    if (opened.ok()) outcome = co_await try_door(**opened, trial);
    const bool take = outcome.ok() && chosen.door == nullptr;
    chosen.verdicts.push_back({kind, outcome.ok(),
                               outcome.ok() ? "a page of a lazily mounted image was read through it"
                                            : outcome.error().to_string()});
    if (take) {
      chosen.kind = kind;
      chosen.door = std::move(*opened);
      if (!all) break;
    } else if (opened.ok()) {
      co_await (*opened)->stop();
    }
  }
  co_return chosen;
}

}  // namespace dedup
