// DaemonClient: the calls of daemon/api/protocol.md a snapshotter makes. Every call blocks, may be
// repeated without harm, and outlives a restart of the daemon's worker: it waits `patience` for a
// socket that refuses, unless that was in vain before and the daemon has not answered since. Any
// thread.
#pragma once

#include <atomic>
#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "snapshotter/mounts.h"
#include "snapshotter/remote.h"

namespace dedup {

class DaemonClient {
 public:
  explicit DaemonClient(std::string socket,
                        std::chrono::milliseconds patience = std::chrono::seconds(30))
      : x_socket(std::move(socket)), x_patience(patience) {}

  // Makes the layer mountable: at once when it loads lazily, else after it was fetched. The answer
  // is the digest chains name it by.
  Result<std::string> add_layer(const RemoteLayer& layer, const std::string& holder) const;
  // Stores an overlay upperdir as a pool layer; the answer is its digest. The directory stays.
  Result<std::string> import_directory(const std::string& directory,
                                       const std::string& holder) const;
  // Merges and mounts pool layers; the answer is the mountpoint.
  Result<std::string> mount_chain(const Lower& lower, const std::string& holder) const;
  Result<std::vector<std::string>> holders(const std::string& prefix) const;
  Result<void> release(const std::string& holder) const;

 private:
  // One call, made again when the daemon died under it.
  Result<nlohmann::json> repeat(const char* method, const std::string& path,
                                const nlohmann::json& body) const;
  // One call that does not wait for a daemon: housekeeping comes again.
  Result<nlohmann::json> call_once(const char* method, const char* parameter,
                                   const std::string& value) const;

  std::string x_socket;
  std::chrono::milliseconds x_patience;
  mutable std::atomic<bool> x_gave_up = false;
};

}  // namespace dedup
