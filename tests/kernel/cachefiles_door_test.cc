// What only the cachefiles door promises, on the real kernel; what all doors promise is in
// door_conformance_test.cc.
#include "doors/cachefiles_door.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>

#include "doors/cachefiles_device.h"
#include "doors/erofs_mount.h"
#include "kernel/door_rig.h"

namespace dedup::test {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr uint64_t kMiB = 1 << 20;

// 0 right, 1 wrong bytes, 2 EIO, 3 another error
int exit_status_of(pid_t child) {
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

pid_t fork_outcome(const std::string& path, uint64_t offset) {
  const pid_t child = fork();
  if (child != 0) return child;
  close_range(3, ~0U, 0);  // or it would hold the device it waits for
  _exit(static_cast<int>(read_pattern(path, 5, offset, 4096)));
}

template <typename Condition>
bool wait_until(Condition condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return false;
}

class CachefilesDoorTest : public testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_DOOR(RigDoor::kCachefiles); }
};

// Every fan-out directory is as good as another: one wrong byte of the hash and the kernel makes a
// file of its own, which stays empty.
TEST_F(CachefilesDoorTest, ManySegmentsAreFoundUnderTheirNames) {
  std::vector<LazyFile> files;
  for (uint32_t i = 0; i < 48; ++i) files.push_back({"f" + std::to_string(i), 1 + i * 977, 8192});
  DoorRig rig(files, RigDoor::kCachefiles);
  rig.all();
  for (const auto& file : files) {
    EXPECT_EQ(read_pattern(rig.path(file.name), file.segment, 0, 8192), Read::kRight) << file.name;
  }
  EXPECT_EQ(rig.counters().denied, 0u);
}

TEST_F(CachefilesDoorTest, FileEndsInsideABlock) {
  const std::string content(5003, 'x');
  DoorRig rig({{"data", 5, content.size(), content}}, RigDoor::kCachefiles);
  rig.all();
  std::array<char, 8192> bytes;
  const UniqueFd fd(open(rig.path("data").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(read(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(content.size()));
  EXPECT_EQ(std::string(bytes.data(), content.size()), content);
}

// What is present is read without us.
TEST_F(CachefilesDoorTest, PresentDataIsNotAskedFor) {
  DoorRig rig(one_file(), RigDoor::kCachefiles);
  rig.all();
  ASSERT_EQ(read_pattern(rig.path("data"), 5, 0, kMiB), Read::kRight);
  const auto before = rig.counters().answered;
  const UniqueFd fd(open(rig.path("data").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  rig.filler->fail = true;
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, kMiB / 2), Read::kRight);
  EXPECT_GT(before, 0u);
  EXPECT_LE(rig.counters().answered, before + 1);  // readahead may look beyond
}

TEST_F(CachefilesDoorTest, TheNextWorkerAnswersWhatADeadOneLeft) {
  DoorRig rig(one_file(), RigDoor::kCachefiles);
  rig.all();
  ASSERT_EQ(read_pattern(rig.path("data"), 5, 0, 4096), Read::kRight);
  rig.on_loop([&] { rig.door.reset(); });  // the device stays with the link
  const pid_t reader = fork_outcome(rig.path("data"), 8 * kMiB);
  std::this_thread::sleep_for(milliseconds(300));
  int status = 0;
  ASSERT_EQ(waitpid(reader, &status, WNOHANG), 0) << "the reader did not wait";
  rig.replace_door();
  rig.attach_all();
  rig.start();
  EXPECT_EQ(exit_status_of(reader), static_cast<int>(Read::kRight));
  EXPECT_EQ(rig.counters().recovered, 1u);
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 9 * kMiB, 4096), Read::kRight);
}

TEST_F(CachefilesDoorTest, WithoutAHolderReadersGetEioAndNeverZeros) {
  DoorRig rig(one_file(), RigDoor::kCachefiles);
  rig.all();
  ASSERT_EQ(read_pattern(rig.path("data"), 5, 0, 4096), Read::kRight);
  rig.on_loop([&] { rig.door.reset(); });
  const pid_t reader = fork_outcome(rig.path("data"), 8 * kMiB);
  std::this_thread::sleep_for(milliseconds(200));
  rig.on_loop([&] { EXPECT_TRUE(rig.link->drop(kKeptCachefiles).ok()); });
  EXPECT_EQ(exit_status_of(reader), static_cast<int>(Read::kEio));
  for (const uint64_t offset : {uint64_t{0}, kMiB, 12 * kMiB}) {
    const Read outcome = read_pattern(rig.path("data"), 5, offset, 4096);
    EXPECT_NE(outcome, Read::kWrong) << offset;
    if (offset != 0) {
      EXPECT_NE(outcome, Read::kRight) << offset;
    }
  }
  // A new one serves a new mount, also while somebody still has the old one open.
  const UniqueFd old(open(rig.path("data").c_str(), O_RDONLY | O_CLOEXEC));
  rig.mounted.reset();
  rig.replace_door();
  rig.attach_all();
  rig.start();
  rig.mount();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 8 * kMiB, 4096), Read::kRight);
  std::array<std::byte, 4096> page;
  EXPECT_LT(pread(old.get(), page.data(), page.size(), 13 * kMiB), 0);
}

TEST_F(CachefilesDoorTest, OneHolderAtATime) {
  DoorRig rig(one_file(), RigDoor::kCachefiles);
  rig.all();
  const auto second = CachefilesDoor::supported(rig.scratch.path());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Errc::kUnsupported);
  EXPECT_THAT(second.error().to_string(), HasSubstr("another process holds /dev/cachefiles"));
}

TEST_F(CachefilesDoorTest, RefusesAFileSystemThatCannotHoldTheCache) {
  const auto refused = CachefilesDoor::supported("/dev/shm");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kUnsupported);
  EXPECT_THAT(refused.error().to_string(), HasSubstr("ext4, xfs or btrfs"));
}

TEST_F(CachefilesDoorTest, ImageMountedAgainWhileAnOldSuperblockIsRead) {
  DoorRig rig(one_file(), RigDoor::kCachefiles);
  rig.all();
  const std::string image = rig.image.image();
  EXPECT_TRUE(metadata_image_in_use(image));
  const UniqueFd old(open(rig.path("data").c_str(), O_RDONLY | O_CLOEXEC));
  rig.mounted.reset();
  for (int copy = 0; copy < 2; ++copy) {
    rig.mount();
    EXPECT_EQ(read_pattern(rig.path("data"), 5, (1 + static_cast<uint64_t>(copy)) * kMiB, 4096),
              Read::kRight);
    rig.mounted.reset();
  }
  std::array<std::byte, 4096> page;
  ASSERT_EQ(pread(old.get(), page.data(), page.size(), 5 * kMiB), 4096);
  EXPECT_EQ(first_wrong(5, 5 * kMiB, page), page.size());
  EXPECT_TRUE(metadata_image_in_use(image));
}

TEST_F(CachefilesDoorTest, UnmountedImageIsSoonNotInUse) {
  DoorRig rig(one_file(), RigDoor::kCachefiles);
  rig.all();
  ASSERT_EQ(read_pattern(rig.path("data"), 5, 0, 4096), Read::kRight);
  rig.mounted.reset();
  EXPECT_TRUE(wait_until([&] { return !metadata_image_in_use(rig.image.image()); }));
}

TEST_F(CachefilesDoorTest, DetachedSegmentLeavesNoName) {
  DoorRig rig(one_file(), RigDoor::kCachefiles);
  rig.all();
  struct stat status {};
  ASSERT_EQ(stat(rig.image.segment_path(5).c_str(), &status), 0);
  EXPECT_EQ(status.st_nlink, 2u);
  rig.mounted.reset();
  rig.on_loop([&] { EXPECT_TRUE(rig.door->detach(5).ok()); });
  ASSERT_EQ(stat(rig.image.segment_path(5).c_str(), &status), 0);
  EXPECT_EQ(status.st_nlink, 1u);
}

// Mounts hang for ever when an OPEN is not answered: what is not attached must fail.
TEST_F(CachefilesDoorTest, UnattachedSegmentIsEio) {
  DoorRig rig(one_file(), RigDoor::kCachefiles);
  rig.open_door();
  rig.start();
  rig.mount();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, 4096), Read::kEio);
}

// A segment whose file is cut to another size is not what the kernel knows.
TEST_F(CachefilesDoorTest, NoMetadataImageNoMount) {
  DoorRig rig(one_file(), RigDoor::kCachefiles);
  rig.open_door();
  rig.attach_all();
  rig.start();
  ASSERT_EQ(truncate(rig.image.image().c_str(), 0), 0);
  EXPECT_FALSE(rig.try_mount().ok());
}

// The one who waits for an OPEN cannot be killed; so it must not be the worker.
TEST_F(CachefilesDoorTest, WorkerThatMountsCanBeKilled) {
  DoorRig rig(one_file(), RigDoor::kCachefiles);
  rig.open_door();
  rig.attach_all();  // and nobody answers: not started
  const pid_t worker = fork();
  if (worker == 0) _exit(rig.try_mount().ok() ? 0 : 1);
  std::this_thread::sleep_for(milliseconds(500));
  int status = 0;
  ASSERT_EQ(waitpid(worker, &status, WNOHANG), 0);
  kill(worker, SIGKILL);
  EXPECT_TRUE(wait_until([&] { return waitpid(worker, &status, WNOHANG) == worker; }));
  rig.start();  // the orphan ends now, and leaves no mount
  std::this_thread::sleep_for(milliseconds(500));
  rig.mount();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, 4096), Read::kRight);
}

}  // namespace
}  // namespace dedup::test
