// The clock that the kernel's own times here are in. Any thread.
#pragma once

#include <cstdint>
#include <ctime>

namespace dedup {

// CLOCK_MONOTONIC: what bpf_ktime_get_ns() returns; stands still while the machine sleeps.
inline uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace dedup
