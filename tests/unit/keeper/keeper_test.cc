#include "keeper/keeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "doors/process_id.h"

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

// A root whose keeper, with witness and worker, runs in processes of its own.
class TakeoverTest : public KeeperTest {
 protected:
  TakeoverTest() : x_root(x_path + ".root") { mkdir(x_root.c_str(), 0700); }
  ~TakeoverTest() override {
    for (const pid_t pid : x_family) kill(pid, SIGKILL);
    std::error_code ignored;
    std::filesystem::remove_all(x_root, ignored);
  }

  pid_t start_keeper(const std::string& mode) {
    const pid_t child = fork();
    if (child != 0) return child;
    Log log(2, LogLevel::kError);
    auto claim = claim_root(x_root, log);
    if (!claim.ok()) _exit(99);
    KeeperOptions options;
    options.worker_arguments = {TEST_WORKER, mode, x_path};
    options.want_fanotify = false;
    options.claim = std::move(*claim);
    _exit(run_keeper(std::move(options), log));
  }

  static std::vector<pid_t> children_of(pid_t pid) {
    const std::string text = std::to_string(pid);
    std::ifstream file("/proc/" + text + "/task/" + text + "/children");
    return {std::istream_iterator<pid_t>(file), {}};
  }
  static bool is_witness(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
    std::string name;
    return file >> name && name == "dedupd-witness";
  }
  // 0: none now.
  pid_t living_witness() const {
    for (const pid_t child : children_of(x_family[0])) {
      if (is_witness(child) && start_ticks_of(child) != 0) return child;
    }
    return 0;
  }

  // {keeper, witness, worker} once the worker has handed over its segment.
  void start_family() {
    const pid_t keeper = start_keeper("stay");
    while (file_bytes() != 11) usleep(1000);
    x_family = {keeper, 0, 0};
    for (const pid_t child : children_of(keeper)) x_family[is_witness(child) ? 1 : 2] = child;
  }
  void kill_keeper() {
    kill(x_family[0], SIGKILL);
    waitpid(x_family[0], nullptr, 0);
  }
  // Not our child.
  void kill_other(pid_t pid) {
    kill(pid, SIGKILL);
    while (start_ticks_of(pid) != 0) usleep(1000);
  }
  void expect_next_keeper_inherits() {
    int status = 0;
    waitpid(start_keeper("inherit"), &status, 0);
    EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
    for (const pid_t pid : x_family) EXPECT_EQ(start_ticks_of(pid), 0u) << pid;
  }

  std::string x_root;
  std::vector<pid_t> x_family;
};

TEST_F(TakeoverTest, LivingKeeperKeepsItsRoot) {
  start_family();
  Log log(2, LogLevel::kError);
  const auto claim = claim_root(x_root, log);
  ASSERT_FALSE(claim.ok());
  EXPECT_EQ(claim.error().code, Errc::kExists);
  EXPECT_NE(claim.error().context.find(std::to_string(x_family[0])), std::string::npos);
  kill_keeper();
}

TEST_F(TakeoverTest, DeadKeeperLeavesWitnessAndWorker) {
  start_family();
  kill_keeper();
  expect_next_keeper_inherits();
}

TEST_F(TakeoverTest, DeadKeeperAndWorkerLeaveTheWitness) {
  start_family();
  kill_keeper();
  kill_other(x_family[2]);
  expect_next_keeper_inherits();
}

TEST_F(TakeoverTest, DeadKeeperAndWitnessLeaveTheWorker) {
  start_family();
  kill_keeper();
  kill_other(x_family[1]);
  expect_next_keeper_inherits();
}

TEST_F(TakeoverTest, WitnessIsReplaced) {
  start_family();
  const pid_t first = x_family[1];
  kill(first, SIGKILL);
  pid_t next = first;
  for (; next == first || next == 0; usleep(1000)) next = living_witness();
  x_family[1] = next;
  kill_keeper();
  kill_other(x_family[2]);
  expect_next_keeper_inherits();
}

}  // namespace
}  // namespace dedup
