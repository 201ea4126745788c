#include "source/retry.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <string>

namespace dedup {

using std::chrono::milliseconds;

milliseconds backoff(milliseconds base, unsigned attempt, uint32_t random) {
  constexpr int64_t kMaxMs = 30'000;
  const int64_t start = std::clamp<int64_t>(base.count(), 0, kMaxMs);
  const int64_t full = std::min(start << std::min(attempt, 15U), kMaxMs);
  return milliseconds(full - full / 2 * static_cast<int64_t>(random % 1024) / 1024);
}

std::optional<milliseconds> parse_retry_after(std::string_view value, std::time_t now) {
  constexpr int64_t kMaxSeconds = int64_t{1} << 40;
  int64_t seconds = 0;
  const auto parsed = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (parsed.ptr == value.data() + value.size() && !value.empty()) {
    if (parsed.ec == std::errc::result_out_of_range) seconds = kMaxSeconds;
    return milliseconds(std::clamp<int64_t>(seconds, 0, kMaxSeconds) * 1000);
  }
  const std::time_t date = curl_getdate(std::string(value).c_str(), nullptr);
  if (date < 0) return std::nullopt;
  return milliseconds(std::max<int64_t>(date - now, 0) * 1000);
}

}  // namespace dedup
