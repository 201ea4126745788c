// The file of a profile, see profile.md: one zstd frame of JSON lines. A profile comes from a
// registry: the reader trusts nothing in it. Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "trace/profile.h"

namespace dedup {

struct ProfileLimits {
  uint64_t max_file_bytes = 16u << 20;  // compressed
  uint64_t max_text_bytes = 64u << 20;
  uint64_t max_line_bytes = 64u << 10;
  uint64_t max_entries = 1u << 18;  // and as many fetches
  uint64_t max_layers = 1024;
  uint64_t max_runs = 1u << 20;
  uint64_t max_file_offset = uint64_t{1} << 53;  // exact in every JSON reader
};

// errors  kInvalid "line N: ...": not a profile, or one that breaks a rule of profile.md;
//         kCorruption: cut or damaged; kNoSpace: over a limit; kUnsupported: a later version
Result<Profile> read_profile(std::span<const std::byte> file, const ProfileLimits& limits = {});

// errors  kInvalid: the profile breaks a rule itself; kNoSpace: over a limit
Result<Bytes> write_profile(const Profile& profile, const ProfileLimits& limits = {});

// The same without compression.
Result<Profile> parse_profile_text(std::string_view text, const ProfileLimits& limits = {});
Result<std::string> profile_text(const Profile& profile, const ProfileLimits& limits = {});

std::string_view name_of(ProfileSource source);
std::string_view name_of(FetchCause cause);

}  // namespace dedup
