#include "keeper/worker_process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "doors/kept_link.h"
#include "doors/process_id.h"

namespace dedup {
namespace {

void inherit(int fd) {
  if (fd >= 0) fcntl(fd, F_SETFD, 0);
}

std::string environment_of(const WorkerProcess::Inherited& inherited) {
  return std::string(KeptLink::kEnvironment) + "=state=" + std::to_string(inherited.state->fd()) +
         ",control=" + std::to_string(inherited.control) +
         ",lock=" + std::to_string(inherited.root_lock);
}

}  // namespace

WorkerProcess::WorkerProcess(std::vector<std::string> arguments, Inherited inherited,
                             std::string oom_score_adj)
    : x_arguments(std::move(arguments)),
      x_inherited(inherited),
      x_oom_score_adj(std::move(oom_score_adj)),
      x_environment(environment_of(inherited)) {
  for (auto& argument : x_arguments) x_argv.push_back(argument.data());
  x_argv.push_back(nullptr);
  for (char** variable = environ; *variable != nullptr; ++variable) x_envp.push_back(*variable);
  x_envp.push_back(x_environment.data());
  x_envp.push_back(nullptr);
}

bool WorkerProcess::start() {
  ++x_inherited.state->header().worker_starts;
  const pid_t pid = fork();
  if (pid == 0) become_worker();
  x_pid = pid;
  return pid > 0;
}

void WorkerProcess::become_worker() const {
  record(x_inherited.state->header().worker, getpid());
  setpgid(0, 0);  // a ^C at the terminal is the keeper's to forward
  signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); fd >= 0) {
    [[maybe_unused]] const auto done = write(fd, x_oom_score_adj.data(), x_oom_score_adj.size());
    close(fd);
  }
  inherit(x_inherited.state->fd());
  inherit(x_inherited.control);
  inherit(x_inherited.root_lock);
  for (const int group : x_inherited.state->header().group_fd) inherit(group);
  for (KeptSegment& entry : x_inherited.state->segments()) {
    if (entry.segment.load() == 0) continue;
    inherit(entry.fd.load());
    entry.worker_fd.store(entry.fd.load());
  }
  execve(x_argv[0], x_argv.data(), x_envp.data());
  static constexpr char kMessage[] = "level=error msg=\"the worker program cannot be started\"\n";
  [[maybe_unused]] const auto done = write(STDERR_FILENO, kMessage, sizeof(kMessage) - 1);
  _exit(EX_UNAVAILABLE);
}

void WorkerProcess::send_signal(int number) const {
  if (running()) kill(x_pid, number);
}

std::optional<int> WorkerProcess::reap() {
  if (!running()) return std::nullopt;
  int status = 0;
  const pid_t dead = waitpid(x_pid, &status, WNOHANG);
  if (dead != x_pid && !(dead < 0 && errno == ECHILD)) return std::nullopt;
  x_pid = -1;
  return status;
}

}  // namespace dedup
