#include "cli/sizes.h"

#include <array>
#include <charconv>
#include <cstdio>

namespace dedup {
namespace {

constexpr std::array<std::string_view, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};

}  // namespace

std::optional<uint64_t> parse_size(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  if (unit.empty()) return number;
  if (unit.front() == ' ') unit.remove_prefix(1);
  for (size_t i = 0; i < kUnits.size(); ++i) {
    if (unit != kUnits[i]) continue;
    if (number > UINT64_MAX >> (10 * i)) return std::nullopt;
    return number << (10 * i);
  }
  return std::nullopt;
}

std::string exact_size(uint64_t bytes) {
  size_t unit = 0;
  while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return std::to_string(bytes) + std::string(kUnits[unit]);
}

std::string rounded_size(uint64_t bytes) {
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  // 1023.5 would print as "1024".
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return std::to_string(bytes) + " B";
  char text[32];
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  std::snprintf(text, sizeof(text), "%.*f %s", decimals, value, std::string(kUnits[unit]).c_str());
  return text;
}

}  // namespace dedup
