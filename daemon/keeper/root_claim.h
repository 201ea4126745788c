// claim_root: who may be the keeper of a root, and what a keeper that died left there. The groups,
// segments and journal of a dead keeper live on in its witness, its worker, or systemd's fd store;
// the next keeper takes them from there and goes on as if only the worker had died. The keeper's
// start, one thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "doors/kept_mapping.h"
#include "keeper/holder_process.h"

namespace dedup {

struct RootClaim {
  // flock of the root directory: one dedupd at a time finds out what is there. Closed when the
  // state names this process as its keeper.
  UniqueFd starting;
  // flock of ROOT/lock. One open file description from keeper to keeper, shared with witness and
  // worker: it is free only when nobody holds the kernel fds any more.
  UniqueFd lock;
  // Of a dead keeper; its fds are open here under the numbers it names. None: nothing was left.
  std::optional<KeptMapping> state;
  // Processes of that keeper. They must be ended before a worker of ours reads an event, because
  // the kernel knows an event by its fd number alone, and after a witness of ours holds the groups.
  std::vector<HolderProcess> orphans;
};

// errors  kExists: a keeper lives; kDenied: the fds of a dead one cannot be taken
Result<RootClaim> claim_root(const std::string& root, Log& log);

}  // namespace dedup
