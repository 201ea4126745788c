#include "doors/cookie_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "base/unique_fd.h"
#include "doors/cachefiles_names.h"
#include "doors/erofs_mount.h"
#include "doors/fill_holes.h"
#include "unit/snapshotter/temp_dir.h"

namespace dedup {
namespace {

class CookieFilesTest : public ::testing::Test {
 protected:
  CookieFiles create() {
    auto files = CookieFiles::create(dir / "cachefiles");
    if (files.ok()) return std::move(*files);
    ADD_FAILURE() << files.error().to_string();
    std::abort();
  }
  std::string segment(const std::string& name, off_t bytes) {
    const UniqueFd fd(::open((dir / name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    EXPECT_EQ(::ftruncate(fd.get(), bytes), 0);
    return dir / name;
  }
  static std::string path_of(const CookieFiles& files, const std::string& cookie) {
    const auto path = files.path_of(erofs_volume_key(files.domain()), cookie);
    return path.ok() ? *path : "";
  }
  static ino_t inode(const std::string& path) {
    struct stat status {};
    return ::lstat(path.c_str(), &status) == 0 ? status.st_ino : 0;
  }

  TempDir dir;
};

TEST_F(CookieFilesTest, TheFileItselfIsTheCookie) {
  const auto files = create();
  const std::string file = segment("00000007.data", 3 * 4096);
  ASSERT_TRUE(files.add("00000007", file).ok());
  const std::string path = path_of(files, "00000007");
  EXPECT_EQ(inode(path), inode(file));
  std::array<std::byte, 64> value;
  ASSERT_EQ(::getxattr(path.c_str(), kCookieXattr, value.data(), value.size()), 18);
  const auto expected = cookie_xattr(3 * 4096);
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), value.begin()));
  const std::string volume =
      files.directory() + "/" + volume_directory(erofs_volume_key(files.domain()));
  EXPECT_EQ(::getxattr(volume.c_str(), kCookieXattr, value.data(), value.size()), 4);
  EXPECT_TRUE(files.add("00000007", file).ok()) << "again";
  files.remove("00000007");
  EXPECT_EQ(inode(path), 0u);
  EXPECT_NE(inode(file), 0u);
}

TEST_F(CookieFilesTest, AnotherFileUnderTheNameIsReplaced) {
  const auto files = create();
  ASSERT_TRUE(files.add("00000007", segment("old", 4096)).ok());
  const std::string file = segment("new", 8192);
  ASSERT_TRUE(files.add("00000007", file).ok());
  EXPECT_EQ(inode(path_of(files, "00000007")), inode(file));
}

TEST_F(CookieFilesTest, RefusesWhatTheKernelWouldResize) {
  const auto files = create();
  EXPECT_FALSE(files.add("00000007", segment("odd", 5000)).ok());
  EXPECT_FALSE(files.add("00000007", dir / "absent").ok());
  EXPECT_FALSE(files.add("../escape", segment("even", 4096)).ok());
}

TEST_F(CookieFilesTest, TheNextWorkerFindsTheDomainAndANewKeeperMakesAnother) {
  const auto first = create();
  ASSERT_TRUE(first.add("00000007", segment("file", 4096)).ok());
  const auto again = CookieFiles::open(first.directory());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->domain(), first.domain());
  const std::string old_path = path_of(first, "00000007");
  const auto second = create();
  EXPECT_NE(second.domain(), first.domain());
  EXPECT_EQ(inode(old_path), 0u);
  EXPECT_NE(inode(dir / "file"), 0u);
}

TEST_F(CookieFilesTest, AStaleCacheIsRemovedButNothingItPointsTo) {
  const std::string directory = dir / "cachefiles";
  std::filesystem::create_directories(dir / "precious/below");
  std::ofstream(dir / "precious/below/file") << "x";
  std::filesystem::create_directories(directory + "/cache/Ierofs,x/@00");
  std::filesystem::create_directory_symlink(dir / "precious", directory + "/cache/link");
  std::filesystem::create_directory_symlink(dir / "precious",
                                            directory + "/cache/Ierofs,x/@00/Dlink");
  create();
  EXPECT_FALSE(std::filesystem::exists(directory + "/cache/link"));
  EXPECT_TRUE(std::filesystem::exists(dir / "precious/below/file"));
}

TEST_F(CookieFilesTest, NamesOfADeadWorkerGo) {
  const auto files = create();
  for (const char* name : {"00000001", "00000002", "a0b1c2"}) {
    ASSERT_TRUE(files.add(name, segment(name, 4096)).ok());
  }
  files.remove_all_but({"00000002"});
  EXPECT_EQ(inode(path_of(files, "00000001")), 0u);
  EXPECT_EQ(inode(path_of(files, "a0b1c2")), 0u);
  EXPECT_NE(inode(path_of(files, "00000002")), 0u);
}

TEST_F(CookieFilesTest, HolesBecomeZerosAndDataStays) {
  const std::string path = segment("file", 16 * 4096);
  {
    const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(::pwrite(fd.get(), "data", 4, 5 * 4096), 4);
    ASSERT_EQ(::fsync(fd.get()), 0);
  }
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
  ASSERT_TRUE(fd.valid());
  ASSERT_TRUE(fill_holes(fd.get(), {4096, 8 * 4096}).ok());
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_DATA), 4096);
  EXPECT_EQ(::lseek(fd.get(), 4096, SEEK_HOLE), 9 * 4096);
  ASSERT_TRUE(fill_holes_of_file(path).ok());
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_HOLE), 16 * 4096);
  std::ifstream file(path);
  file.seekg(5 * 4096);
  std::string text(4, '\0');
  file.read(text.data(), 4);
  EXPECT_EQ(text, "data");
}

TEST_F(CookieFilesTest, AnyCopyInUseIsTheImageInUse) {
  const std::string image = segment("image", 4096);
  const std::string copy = segment("image.1", 4096);
  ASSERT_EQ(copy_of_image(image, 0), image);
  ASSERT_EQ(copy_of_image(image, 1), copy);
  EXPECT_FALSE(metadata_image_in_use(image));
  {
    const UniqueFd user(::open(copy.c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_TRUE(metadata_image_in_use(image));
    EXPECT_FALSE(metadata_file_in_use(image));
  }
  EXPECT_FALSE(metadata_image_in_use(image));
  remove_metadata_image(image);
  EXPECT_EQ(inode(image), 0u);
  EXPECT_EQ(inode(copy), 0u);
}

}  // namespace
}  // namespace dedup
