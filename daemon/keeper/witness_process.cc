#include "keeper/witness_process.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "doors/process_id.h"

namespace dedup {
namespace {

constexpr int kRounds = 1000;  // of kPause
constexpr timespec kPause{0, 1'000'000};

}  // namespace

bool WitnessProcess::start() {
  // Not fork(): it has no way to share the fd table.
  x_pid = static_cast<pid_t>(syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
  if (x_pid == 0) be_witness();
  for (int i = 0; running() && i < kRounds && x_header.witness.pid.load() != x_pid; ++i) {
    nanosleep(&kPause, nullptr);
  }
  return running();
}

void WitnessProcess::be_witness() const {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  setsid();
  prctl(PR_SET_NAME, "dedupd-witness");
  [[maybe_unused]] const int moved = chdir("/");
  mlockall(MCL_CURRENT);
  record(x_header.witness, getpid());
  for (;;) pause();
}

bool WitnessProcess::reap() {
  if (!running()) return false;
  const pid_t dead = waitpid(x_pid, nullptr, WNOHANG);
  if (dead != x_pid && !(dead < 0 && errno == ECHILD)) return false;
  x_pid = -1;
  return true;
}

void WitnessProcess::end() {
  if (!running()) return;
  kill(x_pid, SIGKILL);
  waitpid(x_pid, nullptr, 0);
  x_pid = -1;
}

}  // namespace dedup
