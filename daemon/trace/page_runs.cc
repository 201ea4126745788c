#include "trace/page_runs.h"

#include <algorithm>
#include <bit>
#include <tuple>

namespace dedup {
namespace {

void append_runs(const access_key& key, uint64_t pages, uint64_t first_ns,
                 std::vector<PageRun>& runs) {
  while (pages != 0) {
    const auto begin = static_cast<uint64_t>(std::countr_zero(pages));
    const auto length = static_cast<uint64_t>(std::countr_one(pages >> begin));
    const ByteRange range{key.area * kAreaBytes + begin * kPageBytes, length * kPageBytes};
    runs.push_back({key.device, key.inode, range, first_ns});
    if (begin + length == ACCESS_AREA_PAGES) break;
    pages &= ~uint64_t{0} << (begin + length);
  }
}

void sort_by_time(std::vector<PageRun>& runs) {
  std::ranges::sort(runs, {}, [](const PageRun& run) {
    return std::tuple(run.first_ns, run.device, run.inode, run.range.offset);
  });
}

}  // namespace

Recording page_runs(std::span<const SeenArea> areas, Sight sight) {
  Recording recording;
  for (const auto& [key, area] : areas) {
    const bool misses = sight == Sight::kMisses;
    const uint64_t touched = misses ? area.added : area.touched;
    append_runs(key, touched, misses ? area.added_ns : area.touched_ns, recording.touched);
    append_runs(key, area.added & ~touched, area.added_ns, recording.untouched);
    recording.missed_bytes +=
        static_cast<uint64_t>(std::popcount(area.added & touched)) * kPageBytes;
  }
  sort_by_time(recording.touched);
  sort_by_time(recording.untouched);
  return recording;
}

}  // namespace dedup
