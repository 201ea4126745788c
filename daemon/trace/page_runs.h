// What a recorder saw of one cgroup, as runs of pages in the order of their first touch. Pure; any
// thread.
#pragma once

#include <linux/types.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/byte_range.h"
#include "bpf/access.h"

namespace dedup {

inline constexpr uint64_t kPageBytes = 4096;
inline constexpr uint64_t kAreaBytes = ACCESS_AREA_PAGES * kPageBytes;

// Neighbouring pages of one file. Never reaches over an area of 256 KiB, whose first touch is the
// finest time there is.
struct PageRun {
  uint32_t device = 0;    // as the kernel counts: major << 20 | minor
  uint64_t inode = 0;     // st_ino, the nid
  ByteRange range;        // whole pages: may end behind the end of the file
  uint64_t first_ns = 0;  // CLOCK_MONOTONIC
  bool operator==(const PageRun&) const = default;
};

struct Recording {
  std::vector<PageRun> touched;    // by first_ns, then file and offset
  std::vector<PageRun> untouched;  // came into the page cache, but nothing used them: readahead
  uint64_t missed_bytes = 0;       // of touched: this cgroup brought them into the page cache
};

struct SeenArea {
  access_key key{};
  access_area area{};
};

enum class Sight : uint8_t {
  kTouches,  // reads and faults, also of cached pages
  kMisses,   // only what came into the page cache, readahead included: all counts as touched
};

Recording page_runs(std::span<const SeenArea> areas, Sight sight);

}  // namespace dedup
