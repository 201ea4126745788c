// Profiles are compared in blocks: 64 KiB of a file. What a run touched of a block counts as all of
// it, because faults map neighbours along and where they begin differs from process to process.
// Pure; any thread.
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "trace/profile.h"

namespace dedup {

inline constexpr uint64_t kProfileBlockBytes = 64 << 10;

// Sorts entries by first touch, then joins what is neighbouring in a file and was touched by the
// same number of runs within 100 ms.
std::vector<ProfileEntry> ordered(std::vector<ProfileEntry> entries);

struct MergeRules {
  uint32_t min_percent_of_runs = 50;  // blocks that fewer runs touched are dropped
  uint64_t max_blocks = 1u << 20;     // in ranges of all profiles together
};

// One profile of several runs of one image and entrypoint: blocks in the order of their median
// first touch. A profile that was merged itself counts as many times as it has runs. What only a
// trace has (container, times, fetches) is dropped.
//   errors  kInvalid: nothing to merge; different images, entrypoints or sources; kNoSpace: over
//           max_blocks
Result<Profile> merge_profiles(std::span<const Profile> profiles, const MergeRules& rules = {});

}  // namespace dedup
