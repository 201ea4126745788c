// Digest: the sha256 of stated bytes, printed "sha256:HEX" as in the OCI image-spec. Sha256: the
// running hash. Pure; one Sha256 belongs to one thread at a time.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace dedup {

struct Digest {
  std::array<std::byte, 32> bytes{};

  // "sha256:" and 64 lower-case hex digits; anything else is kInvalid, other algorithms
  // kUnsupported.
  static Result<Digest> parse(std::string_view text);
  std::string to_string() const;  // "sha256:HEX"
  std::string hex() const;        // 64 digits
  bool is_zero() const { return *this == Digest{}; }
  auto operator<=>(const Digest&) const = default;
};

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> bytes);
  // Digest of all bytes since construction or the last finish(); the hash starts anew.
  Digest finish();

 private:
  struct Context;
  std::unique_ptr<Context> x_context;
};

Digest sha256(std::span<const std::byte> bytes);

}  // namespace dedup

template <>
struct std::hash<dedup::Digest> {
  size_t operator()(const dedup::Digest& digest) const noexcept {
    size_t value;
    std::memcpy(&value, digest.bytes.data(), sizeof(value));
    return value;
  }
};
