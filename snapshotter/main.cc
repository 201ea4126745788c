// dedup-snapshotter: wires store, daemon client, background threads and server together.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "base/unique_fd.h"
#include "snapshotter/conversion.h"
#include "snapshotter/options.h"
#include "snapshotter/service.h"
#include "snapshotter/sweep.h"

namespace dedup {
namespace {

constexpr std::chrono::seconds kDrainPatience{10};

// The root belongs to one process at a time; the lock lives as long as the descriptor.
Result<UniqueFd> lock_root(const std::string& root) {
  const std::string path = root + "/lock";
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return errno_error(errno, "open " + path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno != EWOULDBLOCK) return errno_error(errno, "lock " + path);
  return make_error(Errc::kExists, "another dedup-snapshotter uses " + root);
}

Result<void> make_socket_folder(const std::string& address) {
  const auto folder = std::filesystem::path(address).parent_path();
  std::error_code failed;
  if (!folder.empty()) std::filesystem::create_directories(folder, failed);
  if (failed) return errno_error(failed.value(), "make " + folder.string());
  return {};
}

sigset_t stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

Result<void> serve(const SnapshotterOptions& options, Log& log) {
  TRY(SnapshotDirectories::create_root(options.root));
  TRY(root_lock, lock_root(options.root));
  TRY(make_socket_folder(options.address));
  TRY(store, SnapshotStore::open(options.root + "/snapshots.db"));
  SnapshotDirectories directories(options.root);
  TRY(owners, store->directory_owners());
  TRY(directories.discard_others(owners));
  DaemonClient daemon(options.daemon);

  Sweeper sweeper(*store, directories, daemon, log);
  BackgroundThread sweeping([&sweeper] { return sweeper.run(); });
  Converter converter(*store, directories, daemon, log);
  std::optional<BackgroundThread> converting;
  if (options.convert) {
    converting.emplace([&]() -> BackgroundThread::Pause {
      const auto pause = converter.run();
      sweeping.wake();
      return pause;
    });
  }
  Snapshotter snapshotter({.store = *store,
                           .directories = directories,
                           .daemon = daemon,
                           .log = log,
                           .on_committed =
                               [&converting] {
                                 if (converting) converting->wake();
                               },
                           .on_unused = [&sweeping] { sweeping.wake(); }});
  TRY(server, SnapshotServer::start(
                  options.address, snapshotter, [&sweeper] { return sweeper.sweep(); }, log));
  log.info("serving", {{"address", options.address},
                       {"root", options.root},
                       {"daemon", options.daemon},
                       {"convert", options.convert}});

  const sigset_t signals = stop_signals();
  int signal = 0;
  sigwait(&signals, &signal);
  log.info("stopping", {{"signal", ::strsignal(signal)}});
  if (!server->drain(kDrainPatience)) log.warn("calls still wait for the daemon; not waiting");
  // Every call left the store durable, and a conversion in progress, which may take minutes, is
  // taken up again at the next start: there is nothing to tear down.
  std::_Exit(0);
}

}  // namespace
}  // namespace dedup

int main(int argc, char** argv) {
  int exit_status = 0;
  const auto options = dedup::parse_options(argc, argv, exit_status);
  if (!options) return exit_status;
  // Before the first thread, so that all of them leave these signals to sigwait.
  const sigset_t signals = dedup::stop_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  dedup::Log log(2, options->log_level, options->log_format);
  const auto served = dedup::serve(*options, log);
  if (served.ok()) return 0;
  log.error("cannot start", {{"error", served.error()}});
  return 1;
}
