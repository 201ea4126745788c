// The commands of dedupctl: a call of the API each, and what it prints. main() decides whether the
// object or the text goes out. One thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "api/client.h"
#include "base/result.h"

namespace dedup {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitUnreachable = 3;
inline constexpr int kExitBadChunks = 4;

struct CommandResult {
  nlohmann::json object;  // for --json
  std::string text;       // for people
  int exit_status = kExitOk;
};

// reference: absolute_reference(); target: absolute_path() (names.h).
Result<CommandResult> run_pull(const ApiClient& client, const std::string& reference);
Result<CommandResult> run_mount(const ApiClient& client, const std::string& reference,
                                const std::string& target);
Result<CommandResult> run_umount(const ApiClient& client, const std::string& target);
Result<CommandResult> run_images(const ApiClient& client);
Result<CommandResult> run_rm(const ApiClient& client, const std::string& reference);
Result<CommandResult> run_status(const ApiClient& client);
Result<CommandResult> run_pool_stat(const ApiClient& client);
Result<CommandResult> run_check(const ApiClient& client, bool repair);

}  // namespace dedup
