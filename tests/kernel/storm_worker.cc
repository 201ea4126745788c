#include <poll.h>
#include <sys/signalfd.h>
#include <sysexits.h>

#include <chrono>
#include <csignal>

#include "doors/erofs_mount.h"
#include "doors/kept_link.h"
#include "kernel/fake_filler.h"
#include "kernel/storm_board.h"

namespace dedup::test {
namespace {

class StormWorker {
 public:
  StormWorker(const std::string& directory, RigDoor kind, Ring& ring, KeptLink& link)
      : x_board(StormBoard::in(directory)),
        x_image(LazyImage::at(directory, storm_files())),
        x_ring(ring),
        x_workers(ring, 2),
        x_link(link),
        x_directory(directory),
        x_kind(kind),
        x_filler(ring, x_image.files()) {
    x_filler.delay_us = 3000;
    if (kind == RigDoor::kCachefiles) x_filler.write_whole_blocks();
  }

  Task<void> run() {
    const auto done = co_await serve();
    if (!done.ok()) {
      x_log.error("storm worker", {{"error", done.error()}});
      x_status = EX_SOFTWARE;
    }
    x_ring.stop();
  }
  int status() const { return x_status; }

 private:
  Task<Result<void>> serve() {
    const bool first = x_link.kept().empty();
    if (first) CO_TRY(keep_segments());
    auto opened = open_rig_door(x_kind, {x_ring, x_workers, x_log, x_filler, x_link, x_directory});
    CO_TRY(door, std::move(opened));
    for (const auto& [segment, fd] : first ? x_first : x_link.kept()) {
      x_filler.add(segment, fd);
      CO_TRY(door->attach(segment, fd, x_image.segment_path(segment)));
    }
    door->start();
    if (first) CO_TRY(co_await mount(*door));
    ++x_board.workers_ready;
    co_await wait_for_stop(*door);
    co_await x_workers.run(Priority::kOnDemand,
                           [&] { (void)dedup::unmount(x_image.mount_point()); });
    co_await door->stop();
    co_return Result<void>();
  }

  Result<void> keep_segments() {
    for (const auto& file : x_image.files()) {
      TRY(fd, x_image.open_segment(file.segment));
      TRY(x_link.keep(file.segment, fd.get()));
      x_first.push_back({file.segment, fd.release()});
    }
    return {};
  }

  Task<Result<void>> mount(Door& door) {
    DoorMount request{"storm", x_image.image(), {}, x_image.mount_point()};
    for (const uint32_t segment : x_image.segments()) {
      request.segments.push_back({segment, x_image.segment_path(segment), false});
    }
    CO_TRY(co_await x_workers.run(Priority::kOnDemand, [&] { return door.mount(request); }));
    for (const auto& file : x_image.files()) {
      CO_TRY(
          co_await door.probe(x_image.mount_point() + "/" + file.name, 4096, file.segment, 4096));
    }
    co_return Result<void>();
  }

  // Publishes the counters all the time: the next kill takes them away.
  Task<void> wait_for_stop(Door& door) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    const UniqueFd signals(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    signalfd_siginfo signal;
    DoorCounters before;
    while (read(signals.get(), &signal, sizeof(signal)) < 0) {
      const DoorCounters now = door.counters();
      x_board.answered += now.answered - before.answered;
      x_board.denied += now.denied - before.denied;
      x_board.recovered += now.recovered - before.recovered;
      before = now;
      co_await x_ring.sleep(std::chrono::milliseconds(1));
    }
  }

  StormBoard& x_board;
  LazyImage x_image;
  Ring& x_ring;
  Workers x_workers;
  KeptLink& x_link;
  std::string x_directory;
  RigDoor x_kind;
  Log x_log;
  FakeFiller x_filler;
  std::vector<KeptLink::Kept> x_first;
  int x_status = 0;
};

Task<void> run_on_loop(StormWorker* worker) {
  co_await worker->run();
}

}  // namespace

int run_storm_worker(const std::string& directory, RigDoor kind) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  auto link = KeptLink::from_environment();
  if (!link.ok()) {
    std::fprintf(stderr, "%s\n", link.error().to_string().c_str());
    return EX_CONFIG;
  }
  StormBoard::in(directory).worker_pid = getpid();
  auto ring = Ring::open();
  if (!ring.ok()) return EX_CONFIG;
  StormWorker worker(directory, kind, **ring, **link);
  TaskScope scope;
  (*ring)->post([&] { scope.spawn(run_on_loop(&worker)); });
  (*ring)->run();
  return worker.status();
}

}  // namespace dedup::test
