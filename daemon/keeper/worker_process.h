// WorkerProcess: the one child of the keeper. Everything exec needs is built at the beginning, so
// that starting again allocates nothing. The keeper's only thread.
#pragma once

#include <sys/types.h>

#include <array>
#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include "doors/kept_mapping.h"

namespace dedup {

class WorkerProcess {
 public:
  struct Inherited {
    const KeptMapping* state = nullptr;  // borrowed; its groups and segments are inherited too
    int control = -1;
    int root_lock = -1;
  };
  // oom_score_adj: text of the worker's value, as it was before the keeper changed its own.
  WorkerProcess(std::vector<std::string> arguments, Inherited inherited, std::string oom_score_adj);
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  // False when the kernel refused to fork.
  bool start();
  bool running() const { return x_pid > 0; }
  pid_t pid() const { return x_pid; }
  void send_signal(int number) const;
  // The wait status, once, when the worker has died: by then all its threads are gone and its fd
  // table is closed.
  std::optional<int> reap();

 private:
  [[noreturn]] void become_worker() const;

  std::vector<std::string> x_arguments;
  Inherited x_inherited;
  std::string x_oom_score_adj;
  std::string x_environment;
  std::vector<char*> x_argv;
  std::vector<char*> x_envp;
  pid_t x_pid = -1;
};

}  // namespace dedup
