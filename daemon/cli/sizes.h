// Byte sizes as people write them ("4MiB") and as people read them ("3.9 GiB"). Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dedup {

// "4096", "4KiB", "4 MiB"; units B, KiB, MiB, GiB, TiB. Nothing for anything else or an overflow.
std::optional<uint64_t> parse_size(std::string_view text);

// Exact, in the largest unit that divides it: 4194304 -> "4MiB", 4095 -> "4095B".
std::string exact_size(uint64_t bytes);

// Rounded to three digits: 4200000000 -> "3.91 GiB", 12 -> "12 B".
std::string rounded_size(uint64_t bytes);

}  // namespace dedup
