// Bytes in memory: little- and big-endian loads from unaligned spans, checked arithmetic for
// numbers that come from input, and casts between text and bytes. Pure; any thread.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace dedup {

using Bytes = std::vector<std::byte>;

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The first sizeof(T) bytes at `bytes` as a little-endian T. The caller has checked the length.
template <std::unsigned_integral T>
T load_le(std::span<const std::byte> bytes) {
  static_assert(std::endian::native == std::endian::little,
                "big-endian hosts need a byte swap here");
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

template <std::unsigned_integral T>
void store_le(std::span<std::byte> bytes, T value) {
  static_assert(std::endian::native == std::endian::little,
                "big-endian hosts need a byte swap here");
  std::memcpy(bytes.data(), &value, sizeof(T));
}

template <std::unsigned_integral T>
std::optional<T> checked_add(T a, T b) {
  T sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

template <std::unsigned_integral T>
std::optional<T> checked_mul(T a, T b) {
  T product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// `value` rounded up to a multiple of `unit` (a power of two). The caller has checked that it does
// not overflow.
constexpr uint64_t round_up(uint64_t value, uint64_t unit) {
  return (value + unit - 1) & ~(unit - 1);
}
constexpr uint64_t round_down(uint64_t value, uint64_t unit) {
  return value & ~(unit - 1);
}

}  // namespace dedup
