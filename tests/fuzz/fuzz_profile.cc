// The reader of profiles and lists on any text: what it accepts can be written, and reads the same
// again. The first byte chooses the reader.
#include <cstdlib>

#include "base/bytes.h"
#include "trace/profile_file.h"
#include "trace/profile_import.h"
#include "trace/profile_order.h"
#include "trace/profile_report.h"

namespace {

using namespace dedup;

void require(bool condition) {
  if (!condition) std::abort();
}

void check(const Result<Profile>& profile) {
  if (!profile.ok()) return;
  uint64_t last_us = 0;
  for (const ProfileEntry& entry : profile->entries) {
    require(valid_profile_path(entry.path));
    require(!entry.layer || *entry.layer < profile->layers.size());
    require(entry.range.end() >= entry.range.offset && entry.first_us >= last_us);
    last_us = entry.first_us;
  }
  last_us = 0;
  for (const ProfileFetch& fetch : profile->fetches) {
    require(valid_profile_path(fetch.path));
    require(!fetch.layer || *fetch.layer < profile->layers.size());
    require(fetch.range.end() > fetch.range.offset && fetch.us >= last_us);
    last_us = fetch.us;
  }
  const auto file = write_profile(*profile);
  if (!file.ok()) return;  // a command line of other bytes may grow over the limit
  const auto again = read_profile(*file);
  require(again.ok() && again->entries == profile->entries && again->layers == profile->layers);
  require(again->fetches == profile->fetches && again->prepared_us == profile->prepared_us);
  const ProfileReport report = report_of(*profile);
  for (size_t i = 0; i < profile->fetches.size(); ++i)
    require(report.touched_of_fetch[i] <= profile->fetches[i].range.length);
  require(report.misses() <= profile->entries.size());
  MergeRules rules;
  rules.max_blocks = 4096;
  const auto merged = merge_profiles(std::vector{*profile, *profile}, rules);
  if (merged.ok()) require(write_profile(*merged).ok() || merged->runs > ProfileLimits().max_runs);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto input = std::as_bytes(std::span(data + 1, size - 1));
  const std::string_view text = as_text(input);
  switch (data[0] % 5) {
    case 0:
      check(read_profile(input));
      break;
    case 1:
      check(parse_profile_text(text));
      break;
    case 2:
      check(import_list(text, ListKind::kPaths));
      break;
    case 3:
      check(import_list(text, ListKind::kStargz));
      break;
    default:
      check(import_list(text, ListKind::kSoci));
      break;
  }
  return 0;
}
