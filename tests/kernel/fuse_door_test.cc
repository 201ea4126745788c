// The FUSE door against the real kernel: what is its own; the rest is in door_conformance_test.cc.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "doors/erofs_mount.h"
#include "doors/fuse_protocol.h"
#include "kernel/door_rig.h"

namespace dedup::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr uint64_t kMiB = 1 << 20;

class FuseDoorTest : public testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_DOOR(RigDoor::kFuse); }
};

// Reads the next request as a worker does that dies before it answers.
FuseRequest read_into(FuseSlot& slot, int device) {
  pollfd ready{device, POLLIN, 0};
  EXPECT_EQ(poll(&ready, 1, 5000), 1);
  std::array<std::byte, kFuseMinBufferBytes> rest;
  const iovec parts[] = {{slot.request.data(), slot.request.size()}, {rest.data(), rest.size()}};
  EXPECT_GT(readv(device, parts, 2), 0);
  return parse_fuse_request(slot.request).value();
}

void fill(DoorRig& rig, uint64_t offset, uint64_t bytes) {
  const auto done =
      block_on(*rig.ring, rig.filler->ensure(5, {offset, bytes}, Priority::kOnDemand));
  ASSERT_TRUE(done.ok());
}

TEST_F(FuseDoorTest, SegmentThatIsCompleteAtTheMountIsReadWithoutTheDoor) {
  DoorRig rig({{"done", 5, kMiB}, {"lazy", 6, kMiB}}, RigDoor::kFuse);
  rig.open_door();
  rig.attach_all();
  rig.start();
  fill(rig, 0, kMiB);
  rig.complete.insert(5);
  rig.mount();
  EXPECT_EQ(read_pattern(rig.path("done"), 5, 0, kMiB), Read::kRight);
  EXPECT_EQ(rig.counters().answered, 0u);
  EXPECT_EQ(read_pattern(rig.path("lazy"), 6, 0, kMiB), Read::kRight);
  EXPECT_GT(rig.counters().answered, 0u);
}

TEST_F(FuseDoorTest, SegmentThatCompletesWhileMountedIsServedByTheNextWorker) {
  DoorRig rig(one_file(16 * kMiB), RigDoor::kFuse);
  rig.all();
  ASSERT_EQ(read_pattern(rig.path("data"), 5, 0, kMiB), Read::kRight);
  fill(rig, 0, 16 * kMiB);
  rig.replace_door();
  rig.attach_all();
  rig.start();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 4 * kMiB, 8 * kMiB), Read::kRight);
  EXPECT_GT(rig.counters().answered, 0u);
}

TEST_F(FuseDoorTest, ReadTakenByADeadWorkerIsAnsweredByTheNext) {
  DoorRig rig(one_file(), RigDoor::kFuse);
  rig.all();
  rig.replace_door();
  const pid_t reader = fork_reader(rig.path("data"), 5, 8 * kMiB);
  FuseSlot& slot = rig.link->fuse_journal()[17];
  for (;;) {
    // OPEN of the file is EROFS's own business, so what comes is a READ or a late RELEASE.
    if (read_into(slot, rig.link->kept_device(kKeptFuse)).opcode == FUSE_READ) break;
    slot = {};
  }
  rig.attach_all();
  rig.replace_door();  // the one after the dead one: it finds the slot in use
  rig.attach_all();
  rig.start();
  int status = -1;
  ASSERT_EQ(waitpid(reader, &status, 0), reader);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(rig.counters().recovered, 1u);
  rig.on_loop([&] { EXPECT_TRUE(slot.request == FuseSlot{}.request); });
}

TEST_F(FuseDoorTest, RequestAnsweredByADeadWorkerIsForgotten) {
  DoorRig rig(one_file(), RigDoor::kFuse);
  rig.open_door();
  rig.attach_all();
  rig.start();
  rig.mount();
  ASSERT_EQ(read_pattern(rig.path("data"), 5, 0, 4096), Read::kRight);
  // A slot that its worker had no time to zero: the kernel knows the number no more.
  fuse_in_header header{};
  header.len = sizeof(fuse_in_header) + sizeof(fuse_read_in);
  header.opcode = FUSE_READ;
  header.unique = 2;
  header.nodeid = fuse_node(5);
  fuse_read_in argument{};
  argument.size = 4096;
  FuseSlot& slot = rig.link->fuse_journal()[9];
  memcpy(slot.request.data(), &header, sizeof(header));
  memcpy(slot.request.data() + sizeof(header), &argument, sizeof(argument));
  rig.replace_door();
  rig.attach_all();
  rig.start();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 8 * kMiB, 4096), Read::kRight);
  EXPECT_EQ(rig.counters().recovered, 0u);
  rig.on_loop([&] {  // free, or used by a later request
    const auto request = parse_fuse_request(slot.request);
    EXPECT_TRUE(!request.ok() || request->unique != 2);
  });
}

TEST_F(FuseDoorTest, InitTakenByADeadWorkerIsAnsweredByTheNext) {
  DoorRig rig(one_file(), RigDoor::kFuse);
  rig.open_door();
  FuseSlot& slot = rig.link->fuse_journal()[3];
  EXPECT_EQ(read_into(slot, rig.link->kept_device(kKeptFuse)).opcode, uint32_t{FUSE_INIT});
  rig.replace_door();
  rig.attach_all();
  rig.start();
  rig.mount();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, kMiB), Read::kRight);
  EXPECT_EQ(rig.counters().recovered, 1u);
}

TEST_F(FuseDoorTest, WorkerThatDiedBeforeItGaveTheConnectionAwayIsReplaced) {
  DoorRig rig(one_file(), RigDoor::kFuse);
  rig.open_door();
  rig.on_loop([&] { EXPECT_TRUE(rig.link->drop(kKeptFuse).ok()); });  // the root was kept first
  rig.replace_door();
  rig.attach_all();
  rig.start();
  rig.mount();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, kMiB), Read::kRight);
}

TEST_F(FuseDoorTest, WithoutTheDaemonReadersGetErrorsNotZeros) {
  DoorRig rig(one_file(), RigDoor::kFuse);
  rig.all();
  ASSERT_EQ(read_pattern(rig.path("data"), 5, 0, 4096), Read::kRight);
  block_on(*rig.ring, rig.door->stop());
  rig.on_loop([&] { rig.door.reset(); });
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 8 * kMiB, 4096), Read::kEio);
}

// The directories of connections, each with a file "abort".
class FuseControl {
 public:
  explicit FuseControl(std::string directory) : x_directory(std::move(directory)) {
    std::filesystem::create_directory(x_directory);
    x_mounted = mount("fusectl", x_directory.c_str(), "fusectl", 0, nullptr) == 0;
  }
  ~FuseControl() {
    if (x_mounted) unmount(x_directory);
  }
  std::set<std::filesystem::path> connections() const {
    std::set<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(x_directory))
      found.insert(entry.path());
    return found;
  }

 private:
  std::string x_directory;
  bool x_mounted = false;
};

// What somebody's `echo 1 > abort` does, and what heals it: the next worker.
TEST_F(FuseDoorTest, AbortedConnectionIsMadeAnewByTheNextWorker) {
  DoorRig rig(one_file(), RigDoor::kFuse);
  const FuseControl control(rig.scratch.path() + "/control");
  const auto others = control.connections();
  rig.all();
  auto ours = control.connections();
  for (const auto& other : others) ours.erase(other);
  ASSERT_EQ(ours.size(), 1u);
  std::ofstream(*ours.begin() / "abort") << "1";
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 8 * kMiB, 4096), Read::kEio);
  rig.mounted.reset();
  EXPECT_FALSE(rig.try_mount().ok());
  rig.replace_door();
  rig.attach_all();
  rig.start();
  rig.mount();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 8 * kMiB, 4096), Read::kRight);
}

TEST_F(FuseDoorTest, DetachedSegmentCannotBeMounted) {
  DoorRig rig(one_file(), RigDoor::kFuse);
  rig.all();
  rig.mounted.reset();
  rig.on_loop([&] { EXPECT_TRUE(rig.door->detach(5).ok()); });
  EXPECT_FALSE(rig.try_mount().ok());
  rig.attach_all();  // the miss was not remembered
  rig.mount();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, kMiB), Read::kRight);
}

// The pool gives a number again after a restart; the kernel must not serve the old file's bytes.
TEST_F(FuseDoorTest, NumberUsedAgainShowsTheNewFile) {
  DoorRig rig(one_file(kMiB), RigDoor::kFuse);
  rig.all();
  ASSERT_EQ(read_pattern(rig.path("data"), 5, 0, kMiB), Read::kRight);
  rig.mounted.reset();
  const std::string path = rig.image.segment_path(5);
  rig.on_loop([&] { EXPECT_TRUE(rig.door->detach(5).ok()); });
  std::filesystem::rename(path, path + ".old");
  const UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  std::vector<std::byte> other(kMiB);
  fill_pattern(6, 0, other);
  ASSERT_EQ(pwrite(fd.get(), other.data(), other.size(), 0), static_cast<ssize_t>(other.size()));
  rig.on_loop([&] { EXPECT_TRUE(rig.door->attach(5, fd.get(), path).ok()); });
  rig.mount();
  EXPECT_EQ(read_pattern(rig.path("data"), 6, 0, kMiB), Read::kRight);
}

// A worker with a thread inside the kernel that waits for the door cannot end, and so would never
// be replaced by the one that answers.
bool ends_when_killed(pid_t child) {
  kill(child, SIGKILL);
  const auto deadline = steady_clock::now() + milliseconds(1000);
  while (waitpid(child, nullptr, WNOHANG) != child) {
    if (steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

// A FUSE file itself. Who reads it waits in FUSE, as readers of an image do on some kernels.
UniqueFd fuse_file(DoorRig& rig) {
  const int root = rig.link->kept_device(kKeptFuseRoot);
  return UniqueFd(openat(root, fuse_name(5).c_str(), O_RDONLY | O_CLOEXEC));
}

// A child that survives SIGALRM, reads a page and exits 0 when it was right.
pid_t fork_fuse_reader(const UniqueFd& file, uint64_t offset) {
  const pid_t child = fork();
  if (child != 0) return child;
  struct sigaction action {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  std::array<std::byte, 4096> page;
  const ssize_t got = pread(file.get(), page.data(), page.size(), static_cast<off_t>(offset));
  _exit(got == 4096 && first_wrong(5, offset, page) == page.size() ? 0 : 1);
}

void wait_for_fetch(DoorRig& rig) {
  while (rig.filler->ensured == 0) std::this_thread::sleep_for(milliseconds(1));
  rig.filler->ensured = 0;
}

TEST_F(FuseDoorTest, ReaderThatWaitsInFuseCanBeKilled) {
  DoorRig rig(one_file(), RigDoor::kFuse);
  rig.all();
  const UniqueFd file = fuse_file(rig);
  rig.filler->delay_us = 3000000;
  const pid_t killed = fork_fuse_reader(file, 0);
  wait_for_fetch(rig);
  EXPECT_TRUE(ends_when_killed(killed));
  const pid_t woken = fork_fuse_reader(file, kMiB);
  wait_for_fetch(rig);
  kill(woken, SIGALRM);  // the kernel tells the door of the first signal only
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_TRUE(ends_when_killed(woken));
  rig.filler->delay_us = 0;
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, 2 * kMiB), Read::kRight);
}

TEST_F(FuseDoorTest, SignalThatDoesNotKillEndsNoRead) {
  DoorRig rig(one_file(), RigDoor::kFuse);
  rig.all();
  rig.filler->delay_us = 500000;
  const pid_t reader = fork_fuse_reader(fuse_file(rig), 0);
  wait_for_fetch(rig);
  for (int i = 0; i < 10; ++i) {
    kill(reader, SIGALRM);
    std::this_thread::sleep_for(milliseconds(10));
  }
  int status = -1;
  ASSERT_EQ(waitpid(reader, &status, 0), reader);
  EXPECT_EQ(status, 0);
}

TEST_F(FuseDoorTest, InterruptTakenByADeadWorkerIsHeededByTheNext) {
  DoorRig rig(one_file(), RigDoor::kFuse);
  rig.all();
  const UniqueFd file = fuse_file(rig);
  rig.replace_door();
  const int device = rig.link->kept_device(kKeptFuse);
  const pid_t reader = fork_fuse_reader(file, 0);
  EXPECT_EQ(read_into(rig.link->fuse_journal()[5], device).opcode, uint32_t{FUSE_READ});
  kill(reader, SIGALRM);
  EXPECT_EQ(read_into(rig.link->fuse_journal()[3], device).opcode, uint32_t{FUSE_INTERRUPT});
  rig.filler->delay_us = 3000000;
  rig.replace_door();
  rig.attach_all();
  rig.start();
  wait_for_fetch(rig);
  EXPECT_TRUE(ends_when_killed(reader));
}

// As all readers do on Linux 6.12; on 6.18 they wait for a page, and their reads outlive them.
bool waits_in_fuse(pid_t reader) {
  std::ifstream file("/proc/" + std::to_string(reader) + "/wchan");
  std::string function;
  file >> function;
  return function == "request_wait_answer";
}

TEST_F(FuseDoorTest, WorkerThatUnmountsUnderUnansweredReadsCanBeKilled) {
  DoorRig rig(one_file(), RigDoor::kFuse);
  rig.all();
  rig.filler->delay_us = 3000000;
  const pid_t reader = fork_reader(rig.path("data"), 5, 0);
  while (rig.filler->ensured == 0) std::this_thread::sleep_for(milliseconds(1));
  std::this_thread::sleep_for(milliseconds(100));
  const bool reads_end_with_it = waits_in_fuse(reader);
  ASSERT_TRUE(ends_when_killed(reader));
  const std::string target = rig.image.mount_point();
  const pid_t worker = fork();
  if (worker == 0) {
    (void)dedup::unmount(target);
    _exit(0);
  }
  // It leaves the tree at once, then waits.
  while (mount_points()->contains(target)) std::this_thread::sleep_for(milliseconds(1));
  if (reads_end_with_it) {  // and unmounting waits for nothing
    EXPECT_EQ(waitpid(worker, nullptr, 0), worker);
    return;
  }
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(waitpid(worker, nullptr, WNOHANG), 0);
  EXPECT_TRUE(ends_when_killed(worker));
}

TEST_F(FuseDoorTest, WorkerWhoseMountWaitsForTheDoorCanBeKilled) {
  DoorRig rig(one_file(), RigDoor::kFuse);
  rig.all();
  rig.mounted.reset();
  rig.replace_door();  // nobody answers yet
  const pid_t worker = fork();
  if (worker == 0) _exit(rig.try_mount().ok() ? 0 : 1);
  FuseSlot& slot = rig.link->fuse_journal()[0];
  while (read_into(slot, rig.link->kept_device(kKeptFuse)).opcode != FUSE_LOOKUP) slot = {};
  EXPECT_TRUE(ends_when_killed(worker));
  rig.attach_all();
  rig.replace_door();
  rig.attach_all();
  rig.start();
  rig.mount();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, kMiB), Read::kRight);
}

size_t busy_loops() {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/block")) {
    std::ifstream backing(entry.path() / "loop" / "backing_file");
    std::string path;
    if (std::getline(backing, path) && path.find("dedup-kernel-") != std::string::npos) ++count;
  }
  return count;
}

TEST_F(FuseDoorTest, LoopDevicesEndWithTheMount) {
  SKIP_WITHOUT_DOOR(RigDoor::kFuseLoops);
  DoorRig rig(one_file(), RigDoor::kFuseLoops);
  rig.all();
  EXPECT_EQ(busy_loops(), 1u);  // the image; the segment's file has no path that says whose it is
  rig.mounted.reset();
  const auto deadline = steady_clock::now() + milliseconds(5000);
  while (busy_loops() > 0 && steady_clock::now() < deadline)
    std::this_thread::sleep_for(milliseconds(10));
  EXPECT_EQ(busy_loops(), 0u);
}

// The mount fails at its last device: those set up before go away.
TEST_F(FuseDoorTest, LoopDevicesOfAFailedMountEnd) {
  SKIP_WITHOUT_DOOR(RigDoor::kFuseLoops);
  DoorRig rig({{"a", 5, kMiB}, {"b", 6, kMiB}}, RigDoor::kFuseLoops);
  rig.open_door();
  rig.attach_all();
  rig.start();
  rig.on_loop([&] { EXPECT_TRUE(rig.door->detach(6).ok()); });
  EXPECT_FALSE(rig.try_mount().ok());
  EXPECT_EQ(busy_loops(), 0u);
}

}  // namespace
}  // namespace dedup::test
