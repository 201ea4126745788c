#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "snapshotter/snapshot_directories.h"
#include "unit/snapshotter/temp_dir.h"

namespace dedup {
namespace {

class SnapshotDirectoriesTest : public testing::Test {
 protected:
  SnapshotDirectoriesTest() : x_directories(x_dir.path()) {
    EXPECT_TRUE(SnapshotDirectories::create_root(x_dir.path()).ok());
  }

  TempDir x_dir;
  SnapshotDirectories x_directories;
};

TEST_F(SnapshotDirectoriesTest, RootTakesOwnerAndModeOfTheParent) {
  if (::geteuid() != 0) GTEST_SKIP() << "chown needs root";
  ::umask(0077);
  ASSERT_TRUE(x_directories.create(1, SnapshotKind::kActive, "").ok());
  struct stat root {};
  ASSERT_EQ(::stat(x_directories.fs(1).c_str(), &root), 0);
  EXPECT_EQ(root.st_mode & 07777, 0755U) << "whatever the umask";
  ASSERT_EQ(::chown(x_directories.fs(1).c_str(), 5, 6), 0);
  ASSERT_EQ(::chmod(x_directories.fs(1).c_str(), 01750), 0);
  ASSERT_TRUE(x_directories.create(2, SnapshotKind::kActive, x_directories.fs(1)).ok());
  ASSERT_EQ(::stat(x_directories.fs(2).c_str(), &root), 0);
  EXPECT_EQ(root.st_uid, 5U);
  EXPECT_EQ(root.st_gid, 6U);
  EXPECT_EQ(root.st_mode & 07777, 01750U);
}

// kExists and kNotFound would tell containerd something about snapshots.
TEST_F(SnapshotDirectoriesTest, ErrorsAreNeitherExistsNorNotFound) {
  ASSERT_TRUE(x_directories.create(1, SnapshotKind::kView, "").ok());
  EXPECT_EQ(x_directories.create(1, SnapshotKind::kView, "").error().code, Errc::kIo);
  EXPECT_EQ(x_directories.create(2, SnapshotKind::kView, "/missing").error().code, Errc::kIo);
  EXPECT_EQ(x_directories.usage(3).error().code, Errc::kIo);
}

TEST_F(SnapshotDirectoriesTest, UsageCountsAHardLinkedFileOnce) {
  ASSERT_TRUE(x_directories.create(1, SnapshotKind::kActive, "").ok());
  const std::string fs = x_directories.fs(1);
  const auto empty = x_directories.usage(1);
  ASSERT_EQ(::mkdir((fs + "/d").c_str(), 0755), 0);
  std::ofstream(fs + "/d/file") << std::string(100'000, 'x');
  const auto one = x_directories.usage(1);
  ASSERT_EQ(::link((fs + "/d/file").c_str(), (fs + "/link").c_str()), 0);
  const auto linked = x_directories.usage(1);
  ASSERT_TRUE(empty.ok() && one.ok() && linked.ok());
  EXPECT_EQ(empty->inodes, 1);
  EXPECT_EQ(one->inodes, 3);
  EXPECT_GE(one->bytes - empty->bytes, 100'000);
  EXPECT_EQ(linked->inodes, one->inodes);
  EXPECT_EQ(linked->bytes, one->bytes);
}

TEST_F(SnapshotDirectoriesTest, CountsAndDeletesPathsLongerThanPathMax) {
  ASSERT_TRUE(x_directories.create(1, SnapshotKind::kActive, "").ok());
  const std::string name(200, 'n');
  char before[4096];
  ASSERT_NE(::getcwd(before, sizeof(before)), nullptr);
  ASSERT_EQ(::chdir(x_directories.fs(1).c_str()), 0);
  for (int depth = 0; depth < 40; ++depth) {
    ASSERT_EQ(::mkdir(name.c_str(), 0755), 0);
    ASSERT_EQ(::chdir(name.c_str()), 0);
  }
  ASSERT_EQ(::chdir(before), 0);
  const auto usage = x_directories.usage(1);
  ASSERT_TRUE(usage.ok()) << usage.error().to_string();
  EXPECT_EQ(usage->inodes, 41);
  ASSERT_TRUE(x_directories.discard(1).ok());
  const auto emptied = x_directories.empty_removed();
  EXPECT_TRUE(emptied.ok()) << emptied.error().to_string();
  EXPECT_TRUE(std::filesystem::is_empty(x_dir / "removed"));
}

TEST_F(SnapshotDirectoriesTest, DiscardsWhatNoSnapshotOwns) {
  for (const int64_t id : {1, 2, 3}) {
    ASSERT_TRUE(x_directories.create(id, SnapshotKind::kActive, "").ok());
  }
  const std::vector<int64_t> owners = {2};
  ASSERT_TRUE(x_directories.discard_others(owners).ok());
  EXPECT_FALSE(std::filesystem::exists(x_directories.fs(1)));
  EXPECT_TRUE(std::filesystem::exists(x_directories.fs(2)));
  ASSERT_TRUE(x_directories.discard(2).ok());
  EXPECT_TRUE(x_directories.discard(2).ok()) << "twice is no error";
  ASSERT_TRUE(x_directories.empty_removed().ok());
  EXPECT_TRUE(std::filesystem::is_empty(x_dir / "removed"));
}

}  // namespace
}  // namespace dedup
