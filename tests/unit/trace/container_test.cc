#include "trace/container.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <utility>

#include "unit/format/tree_maker.h"

namespace dedup::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// A shell that runs DIRECTORY/init under other arguments until this object goes; it is past exec.
class Child {
 public:
  Child(const std::string& directory, const std::vector<std::string>& arguments, int unshared = 0) {
    int ready[2];
    EXPECT_EQ(::pipe2(ready, 0), 0);
    EXPECT_EQ(::pipe2(x_stdin, 0), 0);
    std::vector<char*> argv;
    for (const std::string& argument : arguments)
      argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    x_pid = ::fork();
    if (x_pid == 0) {
      if (unshared != 0 && ::unshare(unshared) != 0) ::_exit(1);
      ::dup2(x_stdin[0], 0);
      ::dup2(ready[1], 1);
      for (const int fd : {ready[0], ready[1], x_stdin[0], x_stdin[1]}) ::close(fd);
      if (::chdir(directory.c_str()) == 0) ::execv("/bin/sh", argv.data());
      ::_exit(1);
    }
    ::close(ready[1]);
    ::close(x_stdin[0]);
    char byte = 0;
    x_runs = ::read(ready[0], &byte, 1) == 1;
    ::close(ready[0]);
  }
  ~Child() { end(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void end() {
    if (x_pid < 0) return;
    ::close(x_stdin[1]);
    ::waitpid(std::exchange(x_pid, -1), nullptr, 0);
  }
  pid_t pid() const { return x_pid; }
  bool runs() const { return x_runs; }

 private:
  pid_t x_pid = -1;
  int x_stdin[2] = {-1, -1};
  bool x_runs = false;
};

class ContainerTest : public ::testing::Test {
 protected:
  void SetUp() override { std::ofstream(dir.path() + "/init") << "echo\nread -r line\n"; }
  TempDir dir;
};

TEST(ContainerId, IsTheLastNameWithoutWhatIsPutAroundIt) {
  for (const auto& [directory, id] : std::vector<std::pair<std::string, std::string>>{
           {"/sys/fs/cgroup/lab/web-1", "web-1"},
           {"/sys/fs/cgroup/kubepods.slice/kubepods-pod1.slice/cri-containerd-0af3.scope", "0af3"},
           {"/sys/fs/cgroup/system.slice/docker-0af3.scope", "0af3"},
           {"/sys/fs/cgroup/system.slice/nerdctl-0af3.scope", "0af3"},
           {"/sys/fs/cgroup/machine.slice/crio-0af3.scope", "0af3"},
           {"/sys/fs/cgroup/user.slice/other-0af3.scope", "other-0af3"},
           {"/sys/fs/cgroup/docker/docker-0af3", "docker-0af3"},
           {"web", "web"},
           {"", ""},
       })
    EXPECT_EQ(container_id(directory), id) << directory;
}

TEST_F(ContainerTest, StartsAreExactToATick) {
  constexpr uint64_t kTickNs = 10'000'000;
  const uint64_t before_ns = monotonic_ns();
  Child child(dir.path(), {"sh", "init"});
  ASSERT_TRUE(child.runs());
  const uint64_t start_ns = process_start_ns(child.pid());
  EXPECT_GE(start_ns + 2 * kTickNs, before_ns);
  EXPECT_LE(start_ns, monotonic_ns());
  EXPECT_LT(process_start_ns(::getpid()), start_ns + kTickNs);
  EXPECT_GT(process_start_ns(::getpid()), 0u);
  const pid_t gone = child.pid();
  child.end();
  EXPECT_EQ(process_start_ns(gone), 0u);
  EXPECT_THAT(entrypoint_of(gone), IsEmpty());
  EXPECT_EQ(dweller(gone), Dweller::kGone);
}

TEST_F(ContainerTest, TheEntrypointIsWhatWasStarted) {
  const Child child(dir.path(), {"a name", "init", "", "--x=1 2"});
  ASSERT_TRUE(child.runs());
  EXPECT_THAT(entrypoint_of(child.pid()), ElementsAre("a name", "init", "", "--x=1 2"));
}

TEST_F(ContainerTest, TheRuntimeIsNoEntrypoint) {
  for (const char* runtime : {"runc", "/usr/sbin/runc", "crun", "/proc/self/exe"}) {
    const Child child(dir.path(), {runtime, "init"});
    ASSERT_TRUE(child.runs()) << runtime;
    EXPECT_THAT(entrypoint_of(child.pid()), IsEmpty()) << runtime;
  }
  const Child child(dir.path(), {"my-runc", "init"});
  EXPECT_THAT(entrypoint_of(child.pid()), ElementsAre("my-runc", "init"));
}

TEST_F(ContainerTest, LongArgumentsAreCut) {
  const Child child(dir.path(), {"sh", "init", std::string(100'000, 'x')});
  ASSERT_TRUE(child.runs());
  const auto arguments = entrypoint_of(child.pid());
  ASSERT_EQ(arguments.size(), 3u);
  EXPECT_EQ(arguments[2].size(), 4096u - sizeof("sh") - sizeof("init"));
}

TEST_F(ContainerTest, WhoSeesOtherMountsIsInAContainer) {
  EXPECT_EQ(dweller(::getpid()), Dweller::kHost);
  const Child host(dir.path(), {"sh", "init"});
  EXPECT_EQ(dweller(host.pid()), Dweller::kHost);
  const Child contained(dir.path(), {"sh", "init"}, CLONE_NEWNS);
  if (!contained.runs()) GTEST_SKIP() << "no mount namespaces for this user";
  EXPECT_EQ(dweller(contained.pid()), Dweller::kContainer);
}

TEST_F(ContainerTest, ACgroupIsEmptyWhenItListsNobodyOrIsGone) {
  EXPECT_FALSE(has_processes(dir.path()));
  std::ofstream(dir.path() + "/cgroup.procs") << "";
  EXPECT_FALSE(has_processes(dir.path()));
  std::ofstream(dir.path() + "/cgroup.procs") << "17\n";
  EXPECT_TRUE(has_processes(dir.path()));
}

// systemd, or a container engine in a container, moves all processes to cgroups below.
TEST_F(ContainerTest, ACgroupHasTheProcessesOfThoseBelow) {
  const std::string below = dir.path() + "/init.scope";
  ASSERT_TRUE(std::filesystem::create_directory(below));
  std::ofstream(dir.path() + "/cgroup.procs") << "";
  std::ofstream(below + "/cgroup.procs") << "";
  EXPECT_FALSE(has_processes(dir.path()));
  std::ofstream(below + "/cgroup.procs") << "17\n";
  EXPECT_TRUE(has_processes(dir.path()));
  std::ofstream(dir.path() + "/cgroup.events") << "populated 0\nfrozen 0\n";
  EXPECT_FALSE(has_processes(dir.path()));
  std::ofstream(dir.path() + "/cgroup.events") << "populated 1\nfrozen 0\n";
  EXPECT_TRUE(has_processes(dir.path()));
}

TEST_F(ContainerTest, TheOldestProcessOfACgroupIsTold) {
  constexpr double kMillisecondNs = 1e6;  // each answer reads the clock anew
  const auto oldest = [this] { return static_cast<double>(oldest_process_ns(dir.path())); };
  EXPECT_EQ(oldest(), 0);
  std::ofstream(dir.path() + "/cgroup.procs") << ::getpid() << "\n";
  EXPECT_NEAR(oldest(), static_cast<double>(process_start_ns(::getpid())), kMillisecondNs);
  std::ofstream(dir.path() + "/cgroup.procs") << ::getpid() << "\n1\n";
  EXPECT_NEAR(oldest(), static_cast<double>(process_start_ns(1)), kMillisecondNs);
}

}  // namespace
}  // namespace dedup::test
