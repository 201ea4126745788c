// The doors that tests open, by name: each kernel test runs on every one that this kernel has.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "doors/door_context.h"

namespace dedup::test {

enum class RigDoor : uint8_t { kCachefiles, kFanotify, kFuse, kFuseLoops };
inline constexpr RigDoor kRigDoors[] = {RigDoor::kCachefiles, RigDoor::kFanotify, RigDoor::kFuse,
                                        RigDoor::kFuseLoops};

const char* name_of(RigDoor kind);  // letters and digits only
std::optional<RigDoor> rig_door_named(std::string_view name);

// What this kernel lacks, or ok.
Result<void> supported(RigDoor kind);
Result<std::unique_ptr<Door>> open_rig_door(RigDoor kind, const DoorContext& context);

}  // namespace dedup::test
