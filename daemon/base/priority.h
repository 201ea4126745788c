// Priority of a request for bytes: one parameter that travels from the asker to the source, never a
// second code path.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dedup {

enum class Priority : uint8_t {
  kOnDemand = 0,    // a reader is blocked
  kPrefetch = 1,    // a reader will probably ask soon
  kBackground = 2,  // whole-layer fill, checks, imports
};
inline constexpr size_t kPriorityCount = 3;

}  // namespace dedup
