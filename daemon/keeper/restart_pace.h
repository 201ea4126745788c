// RestartPace: how long the keeper waits before it starts a dead worker again. The first deaths
// cost nothing, a crash loop must not eat the machine. Pure; no allocation.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace dedup {

class RestartPace {
 public:
  explicit RestartPace(uint32_t longest_wait_ms) : x_longest_wait_ms(longest_wait_ms) {}

  // Milliseconds to wait after a death at `now_ms`: 0 unless it is the fourth or later within 10 s,
  // then 100, 200, 400 ... up to the longest wait until the deaths thin out.
  uint32_t wait_after_death(uint64_t now_ms) {
    const uint64_t third_last = x_deaths[x_next];
    const bool crowded = x_seen >= x_deaths.size() && now_ms - third_last < kWindowMs;
    x_deaths[x_next] = now_ms;
    x_next = (x_next + 1) % x_deaths.size();
    ++x_seen;
    x_wait_ms = crowded ? std::min(x_longest_wait_ms, std::max(kFirstWaitMs, 2 * x_wait_ms)) : 0;
    return x_wait_ms;
  }

 private:
  static constexpr uint64_t kWindowMs = 10000;
  static constexpr uint32_t kFirstWaitMs = 100;

  uint32_t x_longest_wait_ms;
  std::array<uint64_t, 3> x_deaths{};  // ring of the last ones
  size_t x_next = 0;
  uint64_t x_seen = 0;
  uint32_t x_wait_ms = 0;
};

}  // namespace dedup
