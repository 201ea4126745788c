#include "keeper/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <memory>
#include <optional>

#include "doors/fanotify_group.h"
#include "doors/guard_holder.h"
#include "doors/kept_mapping.h"
#include "doors/process_id.h"
#include "keeper/fd_store.h"
#include "keeper/kept_segments.h"
#include "keeper/last_answers.h"
#include "keeper/restart_pace.h"
#include "keeper/witness_process.h"
#include "keeper/worker_process.h"

namespace dedup {
namespace {

constexpr int kLongestOrphanMs = 60000;  // a worker may wait for a disk

uint64_t now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

// A log line without allocation, for the time after the start.
void note(const char* level, const char* message, const char* field, int64_t value) {
  char line[256];
  const int length = std::snprintf(line, sizeof(line), "level=%s msg=\"%s\" %s=%lld\n", level,
                                   message, field, static_cast<long long>(value));
  if (length <= 0) return;
  const size_t bytes = std::min(static_cast<size_t>(length), sizeof(line) - 1);
  [[maybe_unused]] const auto done = write(STDERR_FILENO, line, bytes);
}

// What the keeper's exit status is after the worker ended with wait status `status`.
int exit_status_of(int status) {
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  return 128 + WTERMSIG(status);
}

class Keeper {
 public:
  Keeper(KeeperOptions& options, const KeptMapping& state, UniqueFd signals, UniqueFd control,
         UniqueFd worker_control, std::string worker_oom_score_adj)
      : x_longest_stop_ms(options.longest_stop_ms),
        x_signals(std::move(signals)),
        x_control(std::move(control)),
        x_worker_control(std::move(worker_control)),
        x_claim(options.claim),
        x_guard_holders(guard_holders_map(options.guard_directory, state.header().life)),
        x_state(state),
        x_store(Systemd::from_environment()),
        x_segments(state.segments(), x_control.get(), x_store),
        x_witness(state.header()),
        x_worker(options.worker_arguments,
                 {&state, x_worker_control.get(), options.claim.lock.get()},
                 std::move(worker_oom_score_adj)),
        x_pace(options.longest_restart_wait_ms),
        x_witness_pace(options.longest_restart_wait_ms) {}

  // In this order: at every moment a process with all fds of the state lives, and its guard knows.
  //   errors  a process of a dead keeper does not end
  Result<void> begin() {
    enter_guard_holder(x_guard_holders.c_str(), getpid());
    start_witness();
    TRY(end_orphans());
    record(x_state.header().keeper, getpid());
    record(x_state.header().witness, x_witness.pid());
    x_claim.starting.reset();
    if (!x_store.add_all(x_state)) note("warn", "the service manager does not keep our fds", "", 0);
    return {};
  }

  int run() {
    start_worker();
    for (;;) {
      wait_for_something();
      take_signals();
      x_segments.serve();
      look_after_witness();
      if (const auto status = look_after_worker()) return end(*status);
    }
  }

 private:
  Result<void> end_orphans() {
    const pid_t witness = x_last_witness;
    const auto end_one = [](const HolderProcess& orphan) {
      return orphan.end(std::chrono::milliseconds(kLongestOrphanMs));
    };
    for (const HolderProcess& orphan : x_claim.orphans) {
      if (orphan.pid() != witness) TRY(end_one(orphan));
    }
    for (const HolderProcess& orphan : x_claim.orphans) {
      if (orphan.pid() == witness) TRY(end_one(orphan));
    }
    x_claim.orphans.clear();
    return {};
  }

  int end(int exit_status) {
    x_store.remove_all(x_state);
    x_witness.end();
    return exit_status;
  }

  void start_witness() {
    x_witness_at_ms.reset();
    if (!x_witness.start()) {
      note("error", "no witness: clone failed", "errno", errno);
      x_witness_at_ms = now_ms() + 1000;
      return;
    }
    enter_guard_holder(x_guard_holders.c_str(), x_witness.pid());
  }

  void look_after_witness() {
    if (const pid_t dead = x_witness.pid(); x_witness.reap()) {
      leave_guard_holder(x_guard_holders.c_str(), dead);
      const uint64_t now = now_ms();
      note("error", "the witness died, starting the next one", "worker_pid", x_worker.pid());
      x_witness_at_ms = now + x_witness_pace.wait_after_death(now);
    }
    if (x_witness_at_ms && now_ms() >= *x_witness_at_ms) start_witness();
  }

  void start_worker() {
    x_start_at_ms.reset();
    // A request of the dead worker: what it handed over before it died must reach the next one.
    x_segments.serve();
    if (!x_worker.start()) {
      note("error", "fork of the worker failed", "errno", errno);
      x_start_at_ms = now_ms() + 1000;
      return;
    }
    enter_guard_holder(x_guard_holders.c_str(), x_worker.pid());
  }

  void wait_for_something() {
    pollfd ready[] = {{x_signals.get(), POLLIN, 0}, {x_control.get(), POLLIN, 0}};
    std::optional<uint64_t> until;
    for (const auto& moment : {x_start_at_ms, x_witness_at_ms, x_kill_at_ms}) {
      if (moment) until = std::min(until.value_or(UINT64_MAX), *moment);
    }
    if (!until) {
      ppoll(ready, 2, nullptr, nullptr);
      return;
    }
    const uint64_t now = now_ms();
    const uint64_t left = *until > now ? *until - now : 0;
    const timespec timeout{static_cast<time_t>(left / 1000),
                           static_cast<long>(left % 1000 * 1000000)};
    ppoll(ready, 2, &timeout, nullptr);
  }

  void take_signals() {
    signalfd_siginfo signal{};
    while (read(x_signals.get(), &signal, sizeof(signal)) == sizeof(signal)) {
      if (signal.ssi_signo == SIGHUP) x_worker.send_signal(SIGHUP);
      if (signal.ssi_signo != SIGTERM && signal.ssi_signo != SIGINT) continue;
      x_stopping = true;
      if (!x_kill_at_ms) x_kill_at_ms = now_ms() + x_longest_stop_ms;
      x_worker.send_signal(SIGTERM);
    }
  }

  // The keeper's exit status, when it has to end.
  std::optional<int> look_after_worker() {
    const pid_t worker = x_worker.pid();
    if (const auto status = x_worker.reap()) {
      leave_guard_holder(x_guard_holders.c_str(), worker);
      if (const auto end = after_death(*status)) return end;
    }
    if (x_stopping && !x_worker.running()) return give_up(EX_SOFTWARE);
    if (x_kill_at_ms && now_ms() >= *x_kill_at_ms) {
      note("error", "the worker does not stop, killing it", "pid", x_worker.pid());
      x_worker.send_signal(SIGKILL);
      x_kill_at_ms = now_ms() + 1000;
    }
    if (x_start_at_ms && now_ms() >= *x_start_at_ms) start_worker();
    return std::nullopt;
  }

  std::optional<int> after_death(int status) {
    const int exit_status = exit_status_of(status);
    if (exit_status == 0) return 0;
    const bool first = x_state.header().worker_starts == 1;
    const bool refused = exit_status == EX_CONFIG || exit_status == EX_UNAVAILABLE;
    if (x_stopping || (first && refused)) return give_up(exit_status);
    const uint64_t now = now_ms();
    const uint32_t wait_ms = x_pace.wait_after_death(now);
    note("warn", "the worker died, starting the next one", "exit_status", exit_status);
    x_start_at_ms = now + wait_ms;
    return std::nullopt;
  }

  int give_up(int exit_status) {
    const std::span<const int32_t> groups(x_state.header().group_fd);
    if (const size_t count = empty_segments_in_use(x_segments, groups); count != 0) {
      note("error", "stopped without the worker, segments in use were emptied", "segments",
           static_cast<int64_t>(count));
    }
    return exit_status;
  }

  const uint32_t x_longest_stop_ms;
  UniqueFd x_signals;
  UniqueFd x_control;
  UniqueFd x_worker_control;
  RootClaim& x_claim;
  const std::string x_guard_holders;
  const KeptMapping& x_state;
  const pid_t x_last_witness = x_state.header().witness.pid.load();
  FdStore x_store;
  KeptSegments x_segments;
  WitnessProcess x_witness;
  WorkerProcess x_worker;
  RestartPace x_pace;
  RestartPace x_witness_pace;
  bool x_stopping = false;
  std::optional<uint64_t> x_start_at_ms;
  std::optional<uint64_t> x_witness_at_ms;
  std::optional<uint64_t> x_kill_at_ms;
};

Result<UniqueFd> block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&set, number);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return errno_error(errno, "sigprocmask");
  signal(SIGPIPE, SIG_IGN);
  UniqueFd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return errno_error(errno, "signalfd");
  return fd;
}

// The value before.
std::string make_unkillable_by_oom(Log& log) {
  const UniqueFd fd(open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC));
  char before[16] = "0";
  if (!fd.valid() || pread(fd.get(), before, sizeof(before) - 1, 0) <= 0 ||
      pwrite(fd.get(), "-1000", 5, 0) != 5) {
    log.warn("oom_score_adj of the keeper stays", {{"error", errno_error(errno, "write")}});
  }
  return before;
}

void make_groups(const KeptMapping& state, Log& log) {
  for (int32_t& number : state.header().group_fd) {
    auto group = make_fanotify_group();
    if (!group.ok()) {
      log.warn("no fanotify groups", {{"missing", group.error()}});
      return;
    }
    number = group->release();  // of the kernel's until this process ends
  }
}

void raise_open_files() {
  constexpr rlim_t kWanted = kMaxKeptSegments + 1024;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= kWanted) return;
  const rlimit wanted{kWanted, std::max(limit.rlim_max, kWanted)};
  if (setrlimit(RLIMIT_NOFILE, &wanted) == 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

Result<KeptMapping> new_state(bool want_groups, Log& log) {
  TRY(state, KeptMapping::create());
  if (want_groups) make_groups(state, log);
  return state;
}

Result<int> prepare_and_run(KeeperOptions& options, Log& log) {
  TRY(signals, block_signals());
  raise_open_files();
  auto state = options.claim.state ? Result<KeptMapping>(std::move(*options.claim.state))
                                   : new_state(options.want_fanotify, log);
  if (!state.ok()) return std::move(state).error();
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return errno_error(errno, "socketpair");
  }
  prctl(PR_SET_NAME, "dedupd-keeper");
  const std::string oom_score_adj = make_unkillable_by_oom(log);
  Keeper keeper(options, *state, std::move(signals), UniqueFd(ends[0]), UniqueFd(ends[1]),
                oom_score_adj);
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
    log.warn("the keeper can be paged out", {{"error", errno_error(errno, "mlockall")}});
  }
  TRY(keeper.begin());
  return keeper.run();
}

}  // namespace

int run_keeper(KeeperOptions options, Log& log) {
  const auto status = prepare_and_run(options, log);
  if (status.ok()) return *status;
  log.error("the keeper cannot start", {{"error", status.error()}});
  return EX_OSERR;
}

}  // namespace dedup
