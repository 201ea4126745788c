// When to try again: exponential backoff with jitter, and the Retry-After header. Pure; private to
// source/.
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string_view>

namespace dedup {

// Delay before attempt `attempt` + 1 (0 = the first retry): between half and all of base *
// 2^attempt, at most 30 s; `random` chooses within.
std::chrono::milliseconds backoff(std::chrono::milliseconds base, unsigned attempt,
                                  uint32_t random);

// Seconds or an HTTP date (RFC 9110 section 10.2.3), as a delay from `now`; nullopt when neither.
std::optional<std::chrono::milliseconds> parse_retry_after(std::string_view value, std::time_t now);

}  // namespace dedup
