// StoredFds: what the service manager kept of a dead dedupd: $LISTEN_FDS with names
// (sd_listen_fds(3)). Names: "state", "group-INDEX", "segment-ID". The keeper's start, one thread.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/log.h"
#include "base/unique_fd.h"
#include "doors/kept_mapping.h"

namespace dedup {

class StoredFds {
 public:
  static constexpr const char* kState = "state";
  static constexpr const char* kGroup = "group-";
  static constexpr const char* kSegment = "segment-";

  // Owns them all; what is not taken is closed at the end.
  static Result<StoredFds> from_environment();

  // The state with its fds under the numbers it names. None: there is none, or it lacks a group:
  // then readers have seen holes, and this is a new life.
  Result<std::optional<KeptMapping>> take(Log& log);

 private:
  std::map<std::string, UniqueFd> x_fds;
};

}  // namespace dedup
