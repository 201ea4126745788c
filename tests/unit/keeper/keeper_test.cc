#include "keeper/keeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace dedup {
namespace {

class KeeperTest : public testing::Test {
 protected:
  KeeperTest() {
    const char* parent = std::getenv("TMPDIR");
    x_path = std::string(parent != nullptr ? parent : "/tmp") + "/keeper-test-XXXXXX";
    const UniqueFd fd(mkostemp(x_path.data(), O_CLOEXEC));
    if (write(fd.get(), "0123456789", 10) != 10) std::abort();
  }
  ~KeeperTest() override { unlink(x_path.c_str()); }

  // Exit status of a keeper, in a process of its own, whose worker is test_worker MODE.
  int keeper_with(std::vector<std::string> worker) {
    const pid_t child = fork();
    if (child == 0) {
      Log log(2, LogLevel::kError);
      KeeperOptions options;
      options.worker_arguments = std::move(worker);
      options.want_fanotify = false;
      options.longest_stop_ms = 300;
      _exit(run_keeper(std::move(options), log));
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int keeper_of(const std::string& mode) { return keeper_with({TEST_WORKER, mode, x_path}); }
  off_t file_bytes() const {
    struct stat status {};
    return stat(x_path.c_str(), &status) == 0 ? status.st_size : -1;
  }

  std::string x_path;
};

TEST_F(KeeperTest, DeadWorkerIsRestartedWithItsSegments) {
  EXPECT_EQ(keeper_of("die-twice"), 0);
  EXPECT_EQ(file_bytes(), 10);
}

TEST_F(KeeperTest, CleanStopLeavesSegmentsAlone) {
  EXPECT_EQ(keeper_of("stop-clean"), 0);
  EXPECT_EQ(file_bytes(), 10);
}

// Without groups a reader of a sparse segment would see zeros; of an empty one it gets EIO.
TEST_F(KeeperTest, FailedStopEmptiesSegmentsInUse) {
  EXPECT_EQ(keeper_of("stop-dirty"), 3);
  EXPECT_EQ(file_bytes(), 0);
}

TEST_F(KeeperTest, WorkerThatDoesNotStopIsKilled) {
  EXPECT_EQ(keeper_of("hang"), 128 + SIGKILL);
  EXPECT_EQ(file_bytes(), 0);
}

TEST_F(KeeperTest, RefusalOfTheFirstWorkerIsPassedOn) {
  EXPECT_EQ(keeper_of("refuse"), 78);
}

TEST_F(KeeperTest, ProgramThatCannotBeStartedEndsTheKeeper) {
  EXPECT_EQ(keeper_with({"/nonexistent/worker"}), 69);
}

}  // namespace
}  // namespace dedup
