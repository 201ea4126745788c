// What a trace adds up to: whether each touched range was there in time and who had fetched it,
// what was fetched in vain, and the same by file. Of a profile without fetches only the touches.
// Bytes touched or fetched twice count where they came first. Pure; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trace/profile.h"

namespace dedup {

inline constexpr size_t kFetchCauses = 4;

// How a touched range found its bytes. Of several fetches the worst counts.
enum class TouchOutcome : uint8_t {
  kPresent,  // nothing in the trace fetched it: it was on the node before
  kAhead,    // fetched before it was touched, and not for a reader
  kAlong,    // a reader of its neighbourhood had fetched it already
  kLate,     // prefetch or background fill was on its way, a reader waited
  kMiss,     // a reader had to fetch it
};
inline constexpr size_t kTouchOutcomes = 5;

struct TouchReport {
  TouchOutcome outcome = TouchOutcome::kPresent;
  std::optional<size_t> fetch;  // into Profile::fetches: the one that decided the outcome
  uint64_t new_bytes = 0;       // that no entry before had touched; 0 of whole files
};

struct FetchTotals {
  uint64_t ranges = 0;
  uint64_t bytes = 0;
  uint64_t untouched_bytes = 0;
  bool operator==(const FetchTotals&) const = default;
};

struct FileReport {
  std::string path;
  std::optional<uint32_t> layer;
  std::optional<uint64_t> first_us;  // first touch, since the image was prepared; none: never
  uint64_t ranges = 0;               // touched
  uint64_t touched_bytes = 0;
  uint64_t misses = 0;
  uint64_t wait_us = 0;
  std::array<FetchTotals, kFetchCauses> fetched;  // by FetchCause
};

struct ProfileReport {
  uint64_t touched_bytes = 0;  // whole files, whose length nobody knows, count 0
  uint64_t whole_files = 0;
  std::array<uint64_t, kTouchOutcomes> outcomes{};  // touched ranges by TouchOutcome
  std::array<FetchTotals, kFetchCauses> fetched;    // by FetchCause
  uint64_t vain_ranges = 0;                         // prefetched, and no byte of it touched
  uint64_t wait_us = 0;                             // of all readers together
  std::vector<TouchReport> touches;                 // as Profile::entries
  std::vector<uint64_t> touched_of_fetch;           // bytes, as Profile::fetches
  std::vector<FileReport> files;  // by first touch, then the others by first fetch

  uint64_t misses() const { return outcomes[static_cast<size_t>(TouchOutcome::kMiss)]; }
  const FetchTotals& by(FetchCause cause) const { return fetched[static_cast<size_t>(cause)]; }
  // Prefetched and never touched.
  uint64_t vain_bytes() const { return by(FetchCause::kPrefetch).untouched_bytes; }
};

// profile: as read_profile() gives it, entries and fetches by time.
ProfileReport report_of(const Profile& profile);

// Whether it is the recording of one start.
bool is_trace(const Profile& profile);

}  // namespace dedup
