// How long random 4 KiB reads of a file take: what the programs that measure doors compare.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dedup::test {

inline constexpr uint64_t kMeasuredBytes = 128 << 20;  // of the file

enum class Pages : uint8_t { kCold, kAsTheyAre };

// Nanoseconds of 16384 reads, sorted; empty when one failed.
std::vector<int64_t> time_random_reads(const std::string& path, Pages pages = Pages::kCold);

double percentile_us(const std::vector<int64_t>& sorted, size_t percent);

}  // namespace dedup::test
