// The JSON lines of a profile, one at a time: what they hold, and the rules that reader and writer
// demand of it. The order of lines is the business of profile_file.cc. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "trace/profile.h"
#include "trace/profile_file.h"

namespace dedup {

struct ProfileHeader {
  Profile profile;       // without entries and fetches
  uint64_t entries = 0;  // lines that must follow, then
  uint64_t fetches = 0;  // so many of these
};

// errors  kInvalid, kUnsupported (a later version), kNoSpace (over a limit)
Result<ProfileHeader> parse_header_line(std::string_view line, const ProfileLimits& limits);
Result<ProfileEntry> parse_entry_line(std::string_view line);
Result<ProfileFetch> parse_fetch_line(std::string_view line);

// last_us: of the line before.
Result<void> check_header(const Profile& profile, const ProfileLimits& limits);
Result<void> check_entry(const Profile& profile, const ProfileEntry& entry, uint64_t last_us,
                         const ProfileLimits& limits);
Result<void> check_fetch(const Profile& profile, const ProfileFetch& fetch, uint64_t last_us,
                         const ProfileLimits& limits);

// Each ended by "\n". Of parts that were checked.
std::string header_line(const Profile& profile);
std::string entry_line(const ProfileEntry& entry);
std::string fetch_line(const ProfileFetch& fetch);

Error profile_over(const char* what, uint64_t limit);

}  // namespace dedup
