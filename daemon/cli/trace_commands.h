// dedupctl trace, and the parts of dedupctl profile that need dedupd. One thread.
#pragma once

#include <string>

#include "cli/profile_commands.h"

namespace dedup {

// target: a container id (or its beginning), or absolute_reference() of an image.
Result<CommandResult> run_trace_start(const ApiClient& client, const std::string& target);
Result<CommandResult> run_trace_stop(const ApiClient& client, const std::string& target);
Result<CommandResult> run_trace_list(const ApiClient& client);
// The path of the newest recorded start.
Result<std::string> find_trace(const ApiClient& client, const std::string& target);

Result<CommandResult> run_profile_export(const ApiClient& client, const std::string& reference,
                                         const std::string& output);
// request.output does not count: the profile goes to dedupd, for that image.
Result<CommandResult> run_profile_import_for(const ApiClient& client, ImportRequest request,
                                             const std::string& reference);
// file: of a profile; empty: what this node has recorded.
Result<CommandResult> run_profile_push(const ApiClient& client, const std::string& reference,
                                       const std::string& file);
Result<CommandResult> run_profile_pull(const ApiClient& client, const std::string& reference);
Result<CommandResult> run_profile_rm(const ApiClient& client, const std::string& reference);

}  // namespace dedup
