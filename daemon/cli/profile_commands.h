// dedupctl profile: offline work on files that hold access profiles (trace/profile.md). Needs no
// dedupd. One thread.
#pragma once

#include <string>
#include <vector>

#include "cli/commands.h"
#include "trace/profile.h"

namespace dedup {

// html: also write the profile as a page to this file; "" for none. Then the text is about that.
Result<CommandResult> run_profile_show(const std::string& file, const std::string& html);

// Writes it to `output` and says what it is.
Result<CommandResult> store_profile(const Profile& profile, const std::string& output);

struct ImportRequest {
  std::string list;
  std::string kind = "auto";        // auto, paths, stargz or soci
  std::vector<std::string> layers;  // digests, bottom first
  std::string output;
};
Result<CommandResult> run_profile_import(const ImportRequest& request);

struct BuildRequest {
  std::vector<std::string> runs;
  uint32_t min_percent_of_runs = 50;
  std::string output;
};
Result<CommandResult> run_profile_build(const BuildRequest& request);

}  // namespace dedup
