#include "cli/commands.h"

#include <unistd.h>

#include "cli/answer.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/sizes.h"

namespace dedup {
namespace {

using nlohmann::json;

// A streaming call with progress on the terminal behind stderr.
Result<json> stream_with_progress(const ApiClient& client, const std::string& path,
                                  const json& body) {
  ProgressView view(STDERR_FILENO);
  return client.stream(path, body, [&view](const json& progress) { view.show(progress); });
}

}  // namespace

Result<CommandResult> run_pull(const ApiClient& client, const std::string& reference) {
  TRY(answer, stream_with_progress(client, "/v1/pulls", {{"ref", reference}}));
  return CommandResult{answer, pulled_text(answer, "pulled")};
}

Result<CommandResult> run_mount(const ApiClient& client, const std::string& reference,
                                const std::string& target) {
  TRY(answer, stream_with_progress(client, "/v1/mounts", {{"ref", reference}, {"target", target}}));
  return CommandResult{answer, pulled_text(answer, "mounted")};
}

Result<CommandResult> run_umount(const ApiClient& client, const std::string& target) {
  TRY(answer, client.call("DELETE", "/v1/mounts", nullptr, {{"target", target}}));
  return CommandResult{answer, "unmounted " + printable(target) + "\n"};
}

Result<CommandResult> run_images(const ApiClient& client) {
  TRY(answer, client.call("GET", "/v1/images"));
  return CommandResult{answer, images_text(answer)};
}

Result<CommandResult> run_rm(const ApiClient& client, const std::string& reference) {
  TRY(answer, client.call("DELETE", "/v1/images", nullptr, {{"ref", reference}}));
  return CommandResult{answer, "removed " + printable(reference) + ", freed " +
                                   rounded_size(number_at(answer, "freed_bytes")) + "\n"};
}

Result<CommandResult> run_status(const ApiClient& client) {
  TRY(answer, client.call("GET", "/v1/status"));
  return CommandResult{answer, status_text(answer)};
}

Result<CommandResult> run_pool_stat(const ApiClient& client) {
  TRY(answer, client.call("GET", "/v1/pool"));
  return CommandResult{answer, pool_text(answer)};
}

Result<CommandResult> run_check(const ApiClient& client, bool repair) {
  TRY(answer, stream_with_progress(client, "/v1/checks", {{"repair", repair}}));
  const bool clean = flag_at(answer, "clean") && list_at(answer, "bad").empty();
  return CommandResult{answer, check_text(answer, repair), clean ? kExitOk : kExitBadChunks};
}

}  // namespace dedup
