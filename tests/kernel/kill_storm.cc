// Kills the worker 100 times at random moments, also while it starts, under 16 readers that verify
// every byte they read through a lazy mount. Real keeper, link and door.
//   kill_storm [KILLS] [--door DOOR] [--patience SECONDS]
//                                        the storm; 100 kills, fanotify; what takes longer than the
//                                        patience, 10 s, is stuck
//   kill_storm --worker DIRECTORY DOOR   what the keeper starts
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <thread>

#include "keeper/keeper.h"
#include "kernel/erofs_mount.h"
#include "kernel/storm_board.h"

namespace dedup::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kSkipped = 77;
constexpr int kWrongUsage = 2;

template <typename Condition>
bool wait_until(std::chrono::seconds patience, Condition condition) {
  const auto deadline = steady_clock::now() + patience;
  while (!condition()) {
    if (steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

// Its child; -1 never. Output of keeper and workers goes to keeper.log.
pid_t start_keeper(const std::string& program, const std::string& directory, RigDoor kind) {
  const pid_t child = fork();
  if (child != 0) return child;
  const std::string log_path = directory + "/keeper.log";
  const int log_fd = open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  dup2(log_fd, STDERR_FILENO);
  Log log;
  KeeperOptions options;
  options.worker_arguments = {program, "--worker", directory, name_of(kind)};
  options.want_fanotify = kind == RigDoor::kFanotify;
  options.longest_restart_wait_ms = 5;
  _exit(run_keeper(std::move(options), log));
}

struct StormOptions {
  RigDoor door = RigDoor::kFanotify;
  int kills = 100;
  std::chrono::seconds patience{10};
};

class Storm {
 public:
  Storm(std::string program, StormOptions options)
      : x_program(std::move(program)), x_options(options) {}

  int run() {
    const auto image = LazyImage::create(x_scratch.path(), storm_files());
    if (!image.ok()) return fail(image.error().to_string());
    x_keeper = start_keeper(x_program, x_scratch.path(), x_options.door);
    if (!wait_until(x_options.patience, [&] { return x_board.workers_ready > 0; }))
      return fail("no worker came up");
    start_readers();
    kill_workers();
    const bool all_moved = wait_for_progress();
    stop_readers(all_moved);
    const bool stopped = stop_keeper();
    unmount(x_scratch.path() + "/mnt");
    return report(stopped);
  }

 private:
  int fail(const std::string& message) {
    std::fprintf(stderr, "%s\n", message.c_str());
    show_log();
    if (x_keeper > 0) kill(x_keeper, SIGTERM), waitpid(x_keeper, nullptr, 0);
    unmount(x_scratch.path() + "/mnt");
    return 1;
  }

  void show_log() {
    std::FILE* file = std::fopen((x_scratch.path() + "/keeper.log").c_str(), "r");
    char line[512];
    while (file != nullptr && std::fgets(line, sizeof(line), file) != nullptr) {
      if (std::strstr(line, "starting the next one") == nullptr) std::fputs(line, stderr);
    }
    if (file != nullptr) std::fclose(file);
  }

  void start_readers() {
    for (size_t i = 0; i < kReaders; ++i) {
      const pid_t child = fork();
      if (child == 0) {
        run_storm_reader(x_scratch.path(), i);
        _exit(0);
      }
      x_readers.push_back(child);
    }
  }

  void kill_workers() {
    pid_t last = 0;
    for (int done = 0; done < x_options.kills; ++done) {
      std::this_thread::sleep_for(milliseconds(x_random() % 400));
      const bool next = wait_until(x_options.patience, [&] { return x_board.worker_pid != last; });
      if (!next) {
        std::fprintf(stderr, "no new worker after kill %d\n", done);
        return;
      }
      last = x_board.worker_pid;
      kill(last, SIGKILL);
      ++x_killed;
    }
  }

  // Every reader must end one more read: none is stuck.
  bool wait_for_progress() {
    std::vector<uint64_t> before;
    for (const auto& reader : x_board.readers) before.push_back(reader.reads);
    return wait_until(x_options.patience, [&] {
      for (size_t i = 0; i < kReaders; ++i) {
        if (x_board.readers[i].reads < before[i] + 2) return false;
      }
      return true;
    });
  }

  void stop_readers(bool all_moved) {
    x_board.readers_stop = true;
    for (const pid_t reader : x_readers) {
      int status = 0;
      const bool ended = wait_until(x_options.patience,
                                    [&] { return waitpid(reader, &status, WNOHANG) == reader; });
      if (!ended) {
        ++x_stuck;
        kill(reader, SIGKILL);
        waitpid(reader, nullptr, 0);
      } else if (status != 0) {
        ++x_died;
      }
    }
    if (!all_moved && x_stuck == 0 && x_died == 0) x_stuck = 1;
  }

  bool stop_keeper() {
    kill(x_keeper, SIGTERM);
    int status = 0;
    const bool ended = wait_until(x_options.patience,
                                  [&] { return waitpid(x_keeper, &status, WNOHANG) == x_keeper; });
    if (!ended) {
      kill(x_keeper, SIGKILL);
      waitpid(x_keeper, nullptr, 0);
    }
    return ended && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

  int report(bool stopped) {
    uint64_t reads = 0;
    uint64_t wrong = 0;
    uint64_t failed = x_died;
    for (const auto& reader : x_board.readers) {
      reads += reader.reads;
      wrong += reader.wrong;
      failed += reader.failed;
    }
    std::printf(
        "kills=%d reads=%llu wrong=%llu failed=%llu stuck=%llu answered=%llu "
        "recovered=%llu clean_stop=%s seconds=%lld\n",
        x_killed, static_cast<unsigned long long>(reads), static_cast<unsigned long long>(wrong),
        static_cast<unsigned long long>(failed), static_cast<unsigned long long>(x_stuck),
        static_cast<unsigned long long>(x_board.answered.load()),
        static_cast<unsigned long long>(x_board.recovered.load()), stopped ? "yes" : "no",
        static_cast<long long>(
            std::chrono::duration_cast<std::chrono::seconds>(steady_clock::now() - x_begin)
                .count()));
    const bool good = x_killed == x_options.kills && reads > 0 && wrong == 0 && failed == 0 &&
                      x_stuck == 0 && stopped && (x_options.kills < 20 || x_board.recovered > 0);
    if (!good) show_log();
    return good ? 0 : 1;
  }

  const steady_clock::time_point x_begin = steady_clock::now();
  ScratchDirectory x_scratch;
  std::string x_program;
  StormOptions x_options;
  StormBoard& x_board = StormBoard::in(x_scratch.path());
  std::mt19937 x_random{std::random_device{}()};
  pid_t x_keeper = -1;
  std::vector<pid_t> x_readers;
  int x_killed = 0;
  uint64_t x_died = 0;
  uint64_t x_stuck = 0;
};

int run_storm(const std::string& program, StormOptions options) {
  if (const auto usable = supported(options.door); !usable.ok()) {
    std::printf("skipped: %s\n", usable.error().to_string().c_str());
    return kSkipped;
  }
  return Storm(program, options).run();
}

int run(int argc, char** argv) {
  StormOptions options;
  if (argc == 4 && std::strcmp(argv[1], "--worker") == 0) {
    return run_storm_worker(argv[2], rig_door_named(argv[3]).value_or(options.door));
  }
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--door") == 0 && i + 1 < argc) {
      const auto named = rig_door_named(argv[++i]);
      if (!named) return kWrongUsage;
      options.door = *named;
    } else if (std::strcmp(argv[i], "--patience") == 0 && i + 1 < argc) {
      options.patience = std::chrono::seconds(std::atoi(argv[++i]));
    } else {
      options.kills = std::atoi(argv[i]);
    }
  }
  char program[4096] = {};
  if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0) return 1;
  return run_storm(program, options);
}

}  // namespace
}  // namespace dedup::test

int main(int argc, char** argv) {
  return dedup::test::run(argc, argv);
}
