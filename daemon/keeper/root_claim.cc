#include "keeper/root_claim.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "doors/process_id.h"
#include "keeper/placed_fds.h"
#include "keeper/stored_fds.h"

namespace dedup {
namespace {

constexpr int kAttempts = 20;  // while holders die under our hands
constexpr std::chrono::milliseconds kPause{50};

Error somebody_else(const std::string& root, pid_t keeper) {
  return make_error(Errc::kExists,
                    "another dedupd " +
                        (keeper > 0 ? "(pid " + std::to_string(keeper) + ") " : std::string()) +
                        "runs on " + root + ": stop it first, or give this one another \"root\"");
}

// What `holder` holds, put where its state says. Segments its keeper did not know are not missed.
Result<KeptMapping> take_from(const HolderProcess& holder, KeptMapping state, Log& log) {
  const bool is_worker = state.header().worker.pid.load() == holder.pid();
  PlacedFds placed;
  for (const int32_t number : state.header().group_fd) {
    if (number < 0) continue;
    TRY(group, holder.take(number));
    TRY(placed.add(number, std::move(group)));
  }
  for (KeptSegment& entry : state.segments()) {
    const uint32_t segment = entry.segment.load();
    if (segment == 0) continue;
    auto fd = holder.take(is_worker ? entry.worker_fd.load() : entry.fd.load());
    if (!fd.ok() && is_worker) {
      log.error("a segment's fd is lost with the keeper", {{"segment", segment}});
      entry.segment.store(0);
      continue;
    }
    if (!fd.ok()) return std::move(fd).error();
    TRY(placed.add(entry.fd.load(), std::move(*fd)));
  }
  TRY(placed.place());
  return state;
}

struct Heir {
  KeptMapping state;
  UniqueFd lock;
};
Result<Heir> inherit(const HolderProcess& holder, Log& log) {
  TRY(state_fd, holder.take(holder.state_number()));
  TRY(high_state, moved_high(std::move(state_fd)));
  TRY(state, KeptMapping::attach(std::move(high_state)));
  TRY(lock_fd, holder.take(holder.lock_number()));
  TRY(lock, moved_high(std::move(lock_fd)));
  TRY(taken, take_from(holder, std::move(state), log));
  return Heir{std::move(taken), std::move(lock)};
}

// The pid of the living keeper, 0 when it is dead.
Result<pid_t> keeper_of(const HolderProcess& holder) {
  TRY(state_fd, holder.take(holder.state_number()));
  TRY(state, KeptMapping::attach(std::move(state_fd)));
  const KeptProcess& keeper = state.header().keeper;
  return alive(keeper) ? keeper.pid.load() : 0;
}

// Witnesses first: their table is the dead keeper's own. A worker may lack fds.
void sort_best_first(std::vector<HolderProcess>& holders) {
  const auto is_worker = [](const HolderProcess& holder) {
    auto fd = holder.take(holder.state_number());
    if (!fd.ok()) return true;
    const auto state = KeptMapping::attach(std::move(*fd));
    return !state.ok() || state->header().worker.pid.load() == holder.pid();
  };
  std::stable_partition(holders.begin(), holders.end(),
                        [&](const HolderProcess& holder) { return !is_worker(holder); });
}

// False: the holders are dying, look again.
Result<bool> take_over(const std::string& root, RootClaim& claim, Log& log) {
  TRY(holders, HolderProcess::all_of(claim.lock.get()));
  if (holders.empty()) return false;
  for (const HolderProcess& holder : holders) {
    const auto keeper = keeper_of(holder);
    if (!keeper.ok() && keeper.error().code != Errc::kNotFound) return keeper.error();
    if (keeper.ok() && *keeper != 0) return somebody_else(root, *keeper);
  }
  sort_best_first(holders);
  for (const HolderProcess& holder : holders) {
    auto heir = inherit(holder, log);
    if (!heir.ok()) {
      log.warn("a process of a dead keeper could not be taken over",
               {{"pid", holder.pid()}, {"error", heir.error()}});
      continue;
    }
    log.warn("the keeper died; going on with what it left",
             {{"from_pid", holder.pid()}, {"orphans", holders.size()}});
    claim.lock = std::move(heir->lock);
    claim.state = std::move(heir->state);
    claim.orphans = std::move(holders);
    return true;
  }
  return false;
}

}  // namespace

Result<RootClaim> claim_root(const std::string& root, Log& log) {
  RootClaim claim;
  TRY(stored, StoredFds::from_environment());
  UniqueFd directory(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return errno_error(errno, "open " + root);
  TRY(starting, moved_high(std::move(directory)));
  claim.starting = std::move(starting);
  if (::flock(claim.starting.get(), LOCK_EX) != 0) return errno_error(errno, "lock " + root);
  const std::string path = root + "/lock";
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!file.valid()) return errno_error(errno, "open " + path);
    TRY(lock, moved_high(std::move(file)));
    claim.lock = std::move(lock);
    if (::flock(claim.lock.get(), LOCK_EX | LOCK_NB) == 0) {
      TRY(state, stored.take(log));
      claim.state = std::move(state);
      return claim;
    }
    TRY(taken, take_over(root, claim, log));
    if (taken) return claim;
    std::this_thread::sleep_for(kPause);
  }
  return somebody_else(root, 0);
}

}  // namespace dedup
