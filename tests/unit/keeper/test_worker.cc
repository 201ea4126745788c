// A worker for keeper_test: test_worker MODE FILE. It hands FILE to the keeper as segment 5.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string_view>

#include "doors/kept_link.h"

namespace {

using dedup::KeptLink;

int fail(const char* what) {
  dprintf(2, "test_worker: %s\n", what);
  return 1;
}

// Dies twice after keep(); the third one must have inherited a usable fd, and only one.
int die_twice(KeptLink& link, const char* path) {
  if (link.header().worker_starts < 3) {
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (!link.keep(5, fd).ok()) return fail("keep");
    raise(SIGKILL);
  }
  const auto kept = link.kept();
  if (kept.size() != 1 || kept[0].segment != 5) return fail("kept() of the next worker");
  if (pwrite(kept[0].fd, "seen", 4, 0) != 4) return fail("inherited fd");
  if (fcntl(kept[0].fd, F_GETFD) != FD_CLOEXEC)
    return fail("inherited fd would leak into children");
  if (!link.drop(5).ok()) return fail("drop");
  return link.kept().empty() ? 0 : fail("kept() after drop");
}

// Hands over a segment, says so by the file's size, and lives on.
int stay(KeptLink& link, const char* path) {
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (!link.keep(5, fd).ok() || ftruncate(fd, 11) != 0) return fail("keep");
  for (;;) pause();
}

// The first worker of a keeper that took over.
int inherit(KeptLink& link, const char* path) {
  const auto kept = link.kept();
  if (link.header().worker_starts != 2) return fail("worker_starts is not continued");
  if (kept.size() != 1 || kept[0].segment != 5) return fail("kept() of a dead keeper");
  struct stat mine {};
  struct stat wanted {};
  if (fstat(kept[0].fd, &mine) != 0 || stat(path, &wanted) != 0) return fail("inherited fd");
  return mine.st_ino == wanted.st_ino ? 0 : fail("inherited another file");
}

int wait_for_stop(KeptLink& link, const char* path, int status) {
  if (!link.keep(5, open(path, O_RDWR | O_CLOEXEC)).ok()) return fail("keep");
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  kill(link.header().keeper.pid, SIGTERM);
  int number = 0;
  sigwait(&set, &number);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 1;
  auto link = KeptLink::from_environment();
  if (!link.ok()) return fail("no keeper");
  const std::string_view mode = argv[1];
  if (mode == "refuse") return 78;
  if (mode == "stay") return stay(**link, argv[2]);
  if (mode == "inherit") return inherit(**link, argv[2]);
  if (mode == "die-twice") return die_twice(**link, argv[2]);
  if (mode == "stop-clean") return wait_for_stop(**link, argv[2], 0);
  if (mode == "stop-dirty") return wait_for_stop(**link, argv[2], 3);
  if (mode == "hang") {
    (void)wait_for_stop(**link, argv[2], 0);
    pause();
  }
  return fail("mode");
}
