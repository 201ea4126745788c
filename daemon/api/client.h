// ApiClient: calls of protocol.md over dedupd's socket. Blocks; a plain value, so one per thread.
// Not for the loop thread.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"

namespace dedup {

struct ApiClientOptions {
  std::string socket = "/run/dedup-snapshotter/dedupd.sock";
  // A worker that restarts refuses connections for a moment.
  std::chrono::milliseconds retry_refused_for{3000};
  std::chrono::seconds answer_timeout{600};  // of call()
};

class ApiClient {
 public:
  using Query = std::map<std::string, std::string>;
  using OnProgress = std::function<void(const nlohmann::json&)>;

  explicit ApiClient(ApiClientOptions options = {}) : x_options(std::move(options)) {}

  // One request, one answer. `body` is sent when it is an object.
  //   errors  what the daemon answered; daemon_unreachable() when none did.
  Result<nlohmann::json> call(const std::string& method, const std::string& path,
                              const nlohmann::json& body = nullptr, const Query& query = {}) const;

  // A streaming call (POST): every progress line, then the last line without its "event". Waits as
  // long as it takes.
  Result<nlohmann::json> stream(const std::string& path, const nlohmann::json& body,
                                const OnProgress& on_progress) const;

 private:
  Result<void> wait_for_daemon() const;

  ApiClientOptions x_options;
};

// True when the error says that no daemon answered, or that it went away before it did; sys_errno
// tells how.
bool daemon_unreachable(const Error& error);

}  // namespace dedup
