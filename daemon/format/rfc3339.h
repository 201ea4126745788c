// Time stamps as eStargz and SOCI indexes write them: "2021-12-31T23:59:59.123456789Z". Pure; any
// thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace dedup {

struct Timestamp {
  int64_t seconds = 0;  // since 1970-01-01 UTC, may be negative
  uint32_t nanoseconds = 0;
  bool operator==(const Timestamp&) const = default;
};

// RFC 3339 date-time with 'T', offset 'Z' or +-HH:MM, any number of fraction digits (those past
// nanoseconds are dropped). An empty text is the epoch: writers leave the field out then. Anything
// else is kInvalid.
Result<Timestamp> parse_rfc3339(std::string_view text);

}  // namespace dedup
