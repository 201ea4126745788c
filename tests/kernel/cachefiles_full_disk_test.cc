// The cachefiles door when the file system of pool and cache is full, far below the share of free
// space at which the kernel wants its cache culled or stops filling it (bcull, bstop; frun for
// files). The door has set the limits as low as they go, and all files of the cache are ours.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

#include "doors/erofs_mount.h"
#include "kernel/door_rig.h"

namespace dedup::test {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr off_t kDiskBytes = 400 * kMiB;  // mkfs.xfs wants 300 MiB

bool run(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

// The parameter is the file system. All that a DoorRig makes lies on it.
class FullDiskTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_DOOR(RigDoor::kCachefiles);
    const std::string disk = x_scratch.path() + "/disk";
    const UniqueFd fd(open(disk.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(ftruncate(fd.get(), kDiskBytes), 0);
    x_mountpoint = x_scratch.path() + "/mnt";
    if (!run(std::string("mkfs.") + GetParam() + " -q " + disk) ||
        !run("mkdir " + x_mountpoint + " && mount -o loop " + disk + " " + x_mountpoint)) {
      x_mountpoint.clear();
      GTEST_SKIP() << "no " << GetParam() << " on a loop device here";
    }
    if (const char* before = std::getenv("TMPDIR")) x_before = before;
    setenv("TMPDIR", x_mountpoint.c_str(), 1);
  }
  void TearDown() override {
    if (x_mountpoint.empty()) return;
    x_before.empty() ? unsetenv("TMPDIR") : setenv("TMPDIR", x_before.c_str(), 1);
    for (int i = 0; i < 100 && !run("umount " + x_mountpoint); ++i) {  // the cache goes a bit later
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }

  std::string ballast() const { return x_mountpoint + "/ballast"; }
  // Down to the last block.
  void fill() const {
    const UniqueFd fd(open(ballast().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    off_t end = 0;
    for (off_t step = 64 * kMiB; step >= 4096;) {
      if (fallocate(fd.get(), 0, end, step) == 0)
        end += step;
      else
        step /= 2;
    }
    struct statvfs status {};
    ASSERT_EQ(statvfs(x_mountpoint.c_str(), &status), 0);
    ASSERT_LT(status.f_bavail * 100, status.f_blocks) << "more than 1 % is free";
  }

 private:
  ScratchDirectory x_scratch;
  std::string x_mountpoint;
  std::string x_before;
};

TEST_P(FullDiskTest, WhatIsPresentIsServedAndTheRestIsEioUntilThereIsSpace) {
  DoorRig rig({{"data", 5, 16 * kMiB}}, RigDoor::kCachefiles);
  rig.all();
  ASSERT_EQ(read_pattern(rig.path("data"), 5, 0, kMiB), Read::kRight);
  fill();
  {
    const UniqueFd fd(open(rig.path("data").c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  }
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, kMiB), Read::kRight);
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 8 * kMiB, 4096), Read::kEio);
  // A mount makes names, and no file, unless the image is still open: the kernel closes it a bit
  // after the unmount.
  rig.mounted.reset();
  for (int i = 0; i < 1000 && metadata_image_in_use(rig.image.image()); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const auto again = rig.try_mount();
  ASSERT_TRUE(again.ok()) << again.error().to_string();
  rig.mounted.emplace(ErofsMount::at(rig.image.mount_point()));
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, kMiB), Read::kRight);
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 8 * kMiB, 4096), Read::kEio);
  ASSERT_EQ(unlink(ballast().c_str()), 0);
  sync();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 8 * kMiB, 4096), Read::kRight);
}

INSTANTIATE_TEST_SUITE_P(Every, FullDiskTest, testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& file_system) { return std::string(file_system.param); });

}  // namespace
}  // namespace dedup::test
