#include "kernel/random_reads.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <numeric>
#include <random>

#include "base/unique_fd.h"

namespace dedup::test {
namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kSamples = 16384;

}  // namespace

std::vector<int64_t> time_random_reads(const std::string& path, Pages pages) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (pages == Pages::kCold) posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM);
  std::vector<uint64_t> order(kMeasuredBytes / kPage);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(7));
  std::vector<int64_t> times;
  std::array<std::byte, kPage> page;
  for (size_t i = 0; i < kSamples; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    if (pread(fd.get(), page.data(), kPage, static_cast<off_t>(order[i] * kPage)) != kPage)
      return {};
    times.push_back((std::chrono::steady_clock::now() - begin) / std::chrono::nanoseconds(1));
  }
  std::ranges::sort(times);
  return times;
}

double percentile_us(const std::vector<int64_t>& sorted, size_t percent) {
  return double(sorted[sorted.size() * percent / 100]) / 1e3;
}

}  // namespace dedup::test
