// The EROFS writer judged by the kernel: images are mounted file-backed with real data in their
// segments, and every inode is compared with the tree it was written from. Needs root and a kernel
// that mounts EROFS from files (6.12+).
#include <dirent.h>
#include <gtest/gtest.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <set>

#include "format/erofs_writer.h"
#include "unit/format/erofs_image.h"
#include "unit/format/tree_maker.h"

namespace dedup {
namespace {

using test::SegmentSet;
using test::TempDir;
using test::TreeMaker;

std::string read_xattr(const std::string& path, const std::string& name) {
  std::string value(65536, '\0');
  const ssize_t got = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
  if (got < 0) return "(errno " + std::to_string(errno) + ")";
  value.resize(static_cast<size_t>(got));
  return value;
}

std::set<std::string> list_xattrs(const std::string& path) {
  std::string names(65536, '\0');
  const ssize_t got = ::llistxattr(path.c_str(), names.data(), names.size());
  std::set<std::string> all;
  for (size_t at = 0; got > 0 && at < static_cast<size_t>(got);) {
    all.insert(names.c_str() + at);
    at += std::strlen(names.c_str() + at) + 1;
  }
  return all;
}

class MountPoint {
 public:
  explicit MountPoint(const TempDir& dir, const std::string& name = "mnt")
      : x_path(dir.path() + "/" + name) {
    ::mkdir(x_path.c_str(), 0755);
  }
  ~MountPoint() {
    if (x_mounted) ::umount2(x_path.c_str(), MNT_DETACH);
  }
  MountPoint(const MountPoint&) = delete;
  MountPoint& operator=(const MountPoint&) = delete;

  // 0 or the errno of mount(2).
  int mount(const std::string& source, const char* type, const std::string& options) {
    if (::mount(source.c_str(), x_path.c_str(), type, MS_RDONLY, options.c_str()) != 0)
      return errno;
    x_mounted = true;
    return 0;
  }
  int mount_erofs(const test::ErofsImageFile& file, const SegmentSet& segments) {
    std::string options;
    for (const uint32_t segment : file.image.devices) {
      options += (options.empty() ? "device=" : ",device=") + segments.path(segment);
    }
    return mount(file.path, "erofs", options);
  }
  const std::string& path() const { return x_path; }

 private:
  std::string x_path;
  bool x_mounted = false;
};

// Names the feature that is missing; empty when images can be mounted here.
std::string missing_feature() {
  if (::geteuid() != 0) return "root (CAP_SYS_ADMIN) for mount(2)";
  TempDir dir;
  SegmentSet segments(dir, 4096);
  TreeMaker maker;
  const auto tree = merge_layers({maker.finish()}, Whiteouts::kApply);
  const auto file = test::write_image(*tree, test::erofs_options(segments), dir);
  MountPoint mnt(dir);
  switch (mnt.mount_erofs(*file, segments)) {
    case 0:
      return "";
    case ENODEV:
      return "CONFIG_EROFS_FS";
    case ENOTBLK:
      return "file-backed EROFS mounts (CONFIG_EROFS_FS_BACKED_BY_FILE, Linux 6.12)";
    case EPERM:
      return "permission for mount(2)";
    default:
      return "";  // anything else is our image's fault
  }
}

class ErofsMount : public testing::Test {
 protected:
  void SetUp() override {
    static const std::string missing = missing_feature();
    if (!missing.empty()) GTEST_SKIP() << "missing: " << missing;
  }

  // Mounts the tree of one layer and compares everything.
  void check(TreeMaker& maker) {
    check(std::vector<PlacedLayer>{maker.finish()}, Whiteouts::kApply);
  }
  void check(std::vector<PlacedLayer> layers, Whiteouts whiteouts) {
    auto tree = merge_layers(std::move(layers), whiteouts);
    ASSERT_TRUE(tree.ok());
    const auto file = test::write_image(*tree, test::erofs_options(x_segments), x_dir);
    ASSERT_TRUE(file.ok()) << file.error().to_string();
    // fsck.erofs recurses: deep trees need more than the usual stack.
    const auto fsck =
        test::run_command("ulimit -s unlimited; fsck.erofs -d3" +
                          test::device_arguments(*file, x_segments) + " " + file->path);
    if (fsck.status != 127) {
      EXPECT_NE(fsck.output.find("No errors found"), std::string::npos) << fsck.output;
    }
    MountPoint mnt(x_dir);
    const int error = mnt.mount_erofs(*file, x_segments);
    ASSERT_EQ(error, 0) << std::strerror(error);
    x_compared = 0;
    compare_all(*tree, file->image, mnt.path());
    std::set<uint32_t> inodes(file->image.node_nid.begin(), file->image.node_nid.end());
    EXPECT_EQ(inodes.size(), tree->nodes.size());
  }

  void compare_all(const ImageTree& tree, const ErofsImage& image, const std::string& root);
  void compare(const ImageTree& tree, const ErofsImage& image, uint32_t node, uint32_t parent,
               const std::string& path);
  void compare_directory(const ImageTree& tree, const ErofsImage& image, uint32_t node,
                         uint32_t parent, const std::string& path);
  void compare_content(const ImageTree& tree, const TreeNode& node, const std::string& path);

  TempDir x_dir;
  SegmentSet x_segments{x_dir, kDefaultChunkBytes};
  uint64_t x_compared = 0;
};

void ErofsMount::compare(const ImageTree& tree, const ErofsImage& image, uint32_t node,
                         uint32_t parent, const std::string& path) {
  const Inode& inode = *tree.nodes[node].inode;
  struct stat got {};
  ASSERT_EQ(::lstat(path.c_str(), &got), 0) << path << ": " << std::strerror(errno);
  ++x_compared;
  EXPECT_EQ(got.st_mode, inode.mode) << path;
  EXPECT_EQ(got.st_uid, inode.uid) << path;
  EXPECT_EQ(got.st_gid, inode.gid) << path;
  EXPECT_EQ(got.st_ino, image.node_nid[node]) << path;
  EXPECT_EQ(got.st_mtim.tv_sec, inode.mtime_seconds) << path;
  EXPECT_EQ(got.st_mtim.tv_nsec, static_cast<long>(inode.mtime_nanoseconds)) << path;
  if (!inode.is_directory()) {
    EXPECT_EQ(got.st_nlink, inode.link_count) << path;
  }
  if (inode.is_regular()) {
    EXPECT_EQ(static_cast<uint64_t>(got.st_size), inode.size) << path;
  }
  if (S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) {
    EXPECT_EQ(got.st_rdev, makedev(inode.rdev_major, inode.rdev_minor)) << path;
  }
  std::set<std::string> names;
  for (const Xattr& xattr : inode.xattrs) {
    names.insert(xattr.name);
    EXPECT_EQ(read_xattr(path, xattr.name), xattr.value) << path << " " << xattr.name;
  }
  if (tree.nodes[node].opaque) {
    names.insert("trusted.overlay.opaque");
    EXPECT_EQ(read_xattr(path, "trusted.overlay.opaque"), "y") << path;
  }
  EXPECT_EQ(list_xattrs(path), names) << path;
  if (S_ISLNK(inode.mode)) {
    std::string target(8192, '\0');
    const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
    EXPECT_EQ(target.substr(0, length < 0 ? 0 : static_cast<size_t>(length)), inode.symlink_target)
        << path;
  }
  if (inode.is_regular()) compare_content(tree, tree.nodes[node], path);
  if (inode.is_directory()) compare_directory(tree, image, node, parent, path);
}

void ErofsMount::compare_all(const ImageTree& tree, const ErofsImage& image,
                             const std::string& root) {
  struct Step {
    uint32_t node, parent;
    std::string path;
  };
  std::vector<Step> steps = {{0, 0, root}};
  while (!steps.empty() && !HasFatalFailure()) {
    const Step step = std::move(steps.back());
    steps.pop_back();
    compare(tree, image, step.node, step.parent, step.path);
    for (const TreeChild& child : tree.nodes[step.node].children) {
      steps.push_back({child.node, step.node, step.path + "/" + std::string(child.name)});
    }
  }
}

void ErofsMount::compare_directory(const ImageTree& tree, const ErofsImage& image, uint32_t node,
                                   uint32_t parent, const std::string& path) {
  std::map<std::string, ino_t> want = {{".", image.node_nid[node]}, {"..", image.node_nid[parent]}};
  uint64_t subdirectories = 0;
  for (const TreeChild& child : tree.nodes[node].children) {
    want[std::string(child.name)] = image.node_nid[child.node];
    if (tree.nodes[child.node].inode->is_directory()) ++subdirectories;
  }
  std::map<std::string, ino_t> got;
  DIR* dir = ::opendir(path.c_str());
  ASSERT_NE(dir, nullptr) << path;
  while (const dirent* entry = ::readdir(dir)) got[entry->d_name] = entry->d_ino;
  ::closedir(dir);
  EXPECT_EQ(got, want) << path;
  struct stat status {};
  ASSERT_EQ(::lstat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_nlink, 2 + subdirectories) << path;
}

void ErofsMount::compare_content(const ImageTree& tree, const TreeNode& node,
                                 const std::string& path) {
  const Inode& inode = *node.inode;
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(fd.valid()) << path;
  const auto read_back = [&](uint64_t offset, uint64_t bytes) {
    std::string text(bytes, '?');
    EXPECT_EQ(::pread(fd.get(), text.data(), bytes, static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes))
        << path;
    return text;
  };
  void* mapped = inode.size == 0 ? MAP_FAILED
                                 : ::mmap(nullptr, inode.size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  const auto expect_hole = [&](uint64_t begin, uint64_t end) {
    const uint64_t some = std::min<uint64_t>(end - begin, 3 << 20);
    for (const uint64_t at : {begin, begin + (end - begin - some) / 2, end - some}) {
      EXPECT_EQ(read_back(at, some), std::string(some, '\0')) << path << " hole at " << at;
    }
  };
  uint64_t end = 0;
  const PlacedLayer& layer = tree.layers[node.layer];
  for (uint32_t i = inode.first_extent; i < inode.first_extent + inode.extent_count; ++i) {
    const Extent& extent = layer.index->extents[i];
    if (end < extent.file_offset) expect_hole(end, extent.file_offset);
    const std::string want = x_segments.read((*layer.slots)[i], 0, extent.bytes);
    EXPECT_TRUE(read_back(extent.file_offset, extent.bytes) == want) << path << " extent " << i;
    if (mapped != MAP_FAILED) {
      const std::string_view memory(static_cast<const char*>(mapped) + extent.file_offset,
                                    extent.bytes);
      EXPECT_TRUE(memory == want) << path << " mapped, extent " << i;
    }
    end = extent.file_offset + extent.bytes;
  }
  if (end < inode.size) expect_hole(end, inode.size);
  char past = 0;
  EXPECT_EQ(::pread(fd.get(), &past, 1, static_cast<off_t>(inode.size)), 0) << path;
  if (mapped != MAP_FAILED) ::munmap(mapped, inode.size);
}

TEST_F(ErofsMount, EmptyImage) {
  TreeMaker maker;
  check(maker);
}

TEST_F(ErofsMount, EveryInodeType) {
  TreeMaker maker;
  Inode& root = maker.at(kRootInode);
  root.mode = S_IFDIR | 01777;
  root.uid = 4294967294u;
  root.mtime_seconds = -1;
  root.mtime_nanoseconds = 999'999'999;
  maker.directory("dir", 02750);
  const InodeIndex setuid = maker.file("dir/setuid", 10, 06755);
  maker.extent(setuid, 0, 10, x_segments.fill(1, 10));
  maker.at(setuid).uid = 3'000'000'000u;
  maker.at(setuid).gid = 100'000;
  maker.at(setuid).mtime_seconds = 1ll << 40;
  maker.at(setuid).mtime_nanoseconds = 123'456'789;
  maker.link("hard", setuid);
  maker.link("dir/hard", setuid);
  maker.add("fifo", TreeMaker::make(S_IFIFO | 0600));
  maker.add("socket", TreeMaker::make(S_IFSOCK | 0600));
  for (const auto& [major, minor] : {std::pair{1u, 3u}, {4095u, 0xFFFFFu}, {259u, 256u}}) {
    for (const uint32_t type : {S_IFCHR, S_IFBLK}) {
      Inode device = TreeMaker::make(type | 0666);
      device.rdev_major = major;
      device.rdev_minor = minor;
      maker.add("dev" + std::to_string(type) + "-" + std::to_string(major), device);
    }
  }
  check(maker);
}

TEST_F(ErofsMount, SymlinksOfEveryKindOfLength) {
  TreeMaker maker;
  for (const size_t length : {1, 2, 59, 60, 100, 4031, 4032, 4033, 4094, 4095}) {
    maker.symlink("l" + std::to_string(length), std::string(length, 't'));
    Inode with_xattr = TreeMaker::make(S_IFLNK | 0777);
    with_xattr.symlink_target = std::string(length, 'u');
    with_xattr.xattrs = {{"trusted.x", std::string(length * 3 % 5000, 'x')}};
    maker.add("x" + std::to_string(length), with_xattr);
  }
  check(maker);
}

TEST_F(ErofsMount, NamesOfEveryKind) {
  TreeMaker maker;
  maker.file(std::string(255, 'n'));
  maker.file("d/" + std::string(255, '\xff'));
  for (const char* name : {"!before-dot", "-", ".hidden", "..x", ".!", "\x01\x02\x7f\x80\xfe",
                           "\xc3\x28 not utf-8", " ", "new\nline", "\\", "a", "aa", "b"}) {
    maker.file(std::string("d/") + name);
  }
  for (int c = 1; c < 256; ++c) {
    if (c != '/' && c != '.') maker.file(std::string("bytes/") + static_cast<char>(c));
  }
  check(maker);
}

TEST_F(ErofsMount, DeepPath) {
  TreeMaker maker;
  std::string path = "d";
  const size_t deepest = PATH_MAX - x_dir.path().size() - 20;
  while (path.size() < deepest) path += "/d";
  maker.file(path + "/file");
  check(maker);
  EXPECT_EQ(x_compared, path.size() / 2 + 3);
}

TEST_F(ErofsMount, DirectoriesOfEveryFill) {
  // Name lengths and counts chosen so that directories end just before, at and after block and
  // inline limits.
  TreeMaker maker;
  for (int count = 0; count < 48; ++count) {
    for (const size_t length : {4, 72, 88, 255}) {
      const std::string dir = "c" + std::to_string(count) + "-" + std::to_string(length);
      maker.directory(dir);
      for (int i = 0; i < count; ++i) {
        const std::string number = std::to_string(100 + i);
        maker.file(dir + "/" + number + std::string(length - 3, 'f'));
      }
    }
  }
  // Exactly one block: "." and ".." take 27 bytes, 43 entries of 12 + 81 and one of 12 + 58 the
  // rest.
  for (int i = 0; i < 43; ++i)
    maker.file("exact/" + std::to_string(100 + i) + std::string(78, 'e'));
  maker.file("exact/z" + std::string(57, 'z'));
  check(maker);
}

TEST_F(ErofsMount, TwentyThousandEntries) {
  TreeMaker maker;
  for (int i = 0; i < 20'000; ++i) maker.file("big/file-number-" + std::to_string(i));
  for (int i = 0; i < 300; ++i) maker.directory("dirs/" + std::to_string(i));
  check(maker);
  EXPECT_EQ(x_compared, 20'303u);
}

TEST_F(ErofsMount, Xattrs) {
  TreeMaker maker;
  // A valid ACL: version 2; user:: rwx, user:1: r, group:: r, mask:: r, other:: -.
  const std::string acl(
      "\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x04\0\x01\0\0\0\x04\0\x04\0\xff\xff\xff\xff"
      "\x10\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff",
      44);
  const std::string capability("\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  for (int i = 0; i < 300; ++i) {
    const InodeIndex at = maker.file("f" + std::to_string(i));
    maker.at(at).mode = S_IFREG | 0740;
    maker.at(at).xattrs = {{"security.capability", capability},
                           {"system.posix_acl_access", acl},
                           {"trusted.own", "own " + std::to_string(i)},
                           {"user.empty", ""},
                           {"user.shared", std::string(static_cast<size_t>(i / 2), 's')}};
  }
  const InodeIndex dir = maker.directory("d", 0740);
  maker.at(dir).xattrs = {{"system.posix_acl_access", acl}, {"system.posix_acl_default", acl}};
  const InodeIndex big = maker.file("big");
  maker.at(big).xattrs = {{"security." + std::string(246, 'n'), "v"},
                          {"user.3k", std::string(3000, '3')},
                          {"user.64k", std::string(65535, 'k')},
                          {"user.8k", std::string(8191, '8')}};
  const InodeIndex many = maker.file("many");
  for (int i = 0; i < 700; ++i) {
    maker.at(many).xattrs.push_back({"user." + std::to_string(1000 + i), std::to_string(i)});
  }
  check(maker);
}

TEST_F(ErofsMount, XattrsOfUnknownNamespacesAreLeftOut) {
  TreeMaker maker;
  const InodeIndex at = maker.file("f");
  maker.at(at).xattrs = {{"com.apple.quarantine", "x"}, {"system.nfs4_acl", "x"}, {"user.", "x"}};
  auto tree = merge_layers({maker.finish()}, Whiteouts::kApply);
  const auto file = test::write_image(*tree, test::erofs_options(x_segments), x_dir);
  ASSERT_TRUE(file.ok());
  MountPoint mnt(x_dir);
  ASSERT_EQ(mnt.mount_erofs(*file, x_segments), 0);
  EXPECT_TRUE(list_xattrs(mnt.path() + "/f").empty());
}

TEST_F(ErofsMount, FilesOfEverySmallSize) {
  TreeMaker maker;
  for (uint64_t bytes = 0; bytes <= 4097; ++bytes) {
    const InodeIndex at =
        maker.file(std::to_string(bytes / 512) + "/" + std::to_string(bytes), bytes);
    if (bytes != 0) maker.extent(at, 0, bytes, x_segments.fill(1, bytes));
  }
  check(maker);
}

TEST_F(ErofsMount, FilesOfManyExtentsOnSeveralDevices) {
  for (const uint32_t chunk_bytes : {4096u, 65536u, 1u << 20}) {
    TreeMaker maker(chunk_bytes);
    uint32_t segment = 0;
    for (const uint64_t bytes : {uint64_t{chunk_bytes} - 1, uint64_t{chunk_bytes},
                                 uint64_t{chunk_bytes} + 1, uint64_t{5} * chunk_bytes + 5000}) {
      const InodeIndex at = maker.file(std::to_string(bytes), bytes);
      for (uint64_t offset = 0; offset < bytes; offset += chunk_bytes) {
        const uint64_t part = std::min<uint64_t>(chunk_bytes, bytes - offset);
        maker.extent(at, offset, part, x_segments.fill(1 + segment++ % 7, part));
      }
    }
    check(maker);
  }
}

TEST_F(ErofsMount, WholeFileExtentsSpanManyChunks) {
  TreeMaker maker(65536);
  for (const uint64_t bytes : {65537ull, 131072ull, 1'000'000ull}) {
    const InodeIndex at = maker.file(std::to_string(bytes), bytes);
    maker.extent(at, 0, bytes, x_segments.fill(3, bytes));
  }
  check(maker);
}

TEST_F(ErofsMount, Holes) {
  TreeMaker maker(65536);
  maker.file("all-hole", 1'000'001);
  maker.file("tiny-hole", 1);
  const InodeIndex middle = maker.file("middle", 65536 * 5 + 100);
  maker.extent(middle, 65536 * 2, 65536, x_segments.fill(1, 65536));
  const InodeIndex ends = maker.file("ends", 65536 * 3);
  maker.extent(ends, 0, 65536, x_segments.fill(1, 65536));
  maker.extent(ends, 65536 * 2, 65536, x_segments.fill(2, 65536));
  // Data that ends inside a chunk before a hole: what follows it in the segment belongs to others.
  for (const uint64_t bytes : {1u, 4095u, 4096u, 4097u, 40'000u}) {
    const InodeIndex at = maker.file("short" + std::to_string(bytes), 200'000);
    maker.extent(at, 0, bytes, x_segments.fill(2, bytes));
    x_segments.fill(2, 65536);
  }
  check(maker);
}

TEST_F(ErofsMount, SparseFileOfFiveGiB) {
  TreeMaker maker;
  const uint64_t size = (5ull << 30) + 77;
  const InodeIndex at = maker.file("sparse", size);
  maker.extent(at, 1024ull * kDefaultChunkBytes, kDefaultChunkBytes,
               x_segments.fill(1, kDefaultChunkBytes));
  maker.extent(at, size / kDefaultChunkBytes * kDefaultChunkBytes, 77, x_segments.fill(1, 77));
  check(maker);
}

TEST_F(ErofsMount, ManyDevices) {
  TreeMaker maker;
  for (uint32_t segment = 1; segment <= 40; ++segment) {  // the table runs on into the second block
    const InodeIndex at = maker.file(std::to_string(segment), 100 * segment);
    maker.extent(at, 0, 100 * segment, x_segments.fill(segment * 1000, 100 * segment));
  }
  check(maker);
}

std::vector<PlacedLayer> three_layers(SegmentSet& segments) {
  const auto file = [&](TreeMaker& maker, const std::string& path) {
    const InodeIndex at = maker.file(path, 1000);
    maker.extent(at, 0, 1000, segments.fill(1, 1000));
  };
  TreeMaker bottom;
  for (const char* path :
       {"keep", "gone", "dir/keep", "dir/gone", "opaque/gone", "replaced/gone", "turned"}) {
    file(bottom, path);
  }
  TreeMaker middle;
  middle.whiteout("gone");
  middle.whiteout("dir/gone");
  middle.whiteout("replaced");
  middle.at(middle.directory("opaque", 0700)).opaque = true;
  file(middle, "opaque/middle");
  TreeMaker top;
  file(top, "replaced/new");
  file(top, "turned/into-dir");
  file(top, "opaque/top");
  top.whiteout("nothing-here");
  return {bottom.finish(), middle.finish(), top.finish()};
}

TEST_F(ErofsMount, MergedLayers) {
  check(three_layers(x_segments), Whiteouts::kApply);
}

TEST_F(ErofsMount, KeptWhiteoutsAndOpaqueMarks) {
  check(three_layers(x_segments), Whiteouts::kKeep);
}

// Layers merged by us, or stacked by overlayfs from images that keep their whiteouts: the same
// names.
TEST_F(ErofsMount, OverlayfsAgreesWithTheMerge) {
  const auto names = [](const std::string& root) {
    std::set<std::string> all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      all.insert(entry.path().string().substr(root.size()));
    }
    return all;
  };
  const auto layers = three_layers(x_segments);
  const auto mount_tree = [&](std::vector<PlacedLayer> part, Whiteouts whiteouts, MountPoint& mnt,
                              const char* name) {
    const auto tree = merge_layers(std::move(part), whiteouts);
    const auto file = test::write_image(*tree, test::erofs_options(x_segments), x_dir, name);
    ASSERT_EQ(mnt.mount_erofs(*file, x_segments), 0);
  };
  MountPoint whole(x_dir, "whole"), lower(x_dir, "lower"), upper(x_dir, "upper"),
      overlay(x_dir, "overlay");
  mount_tree(layers, Whiteouts::kApply, whole, "whole-image");
  mount_tree({layers[0]}, Whiteouts::kKeep, lower, "lower-image");
  mount_tree({layers[1], layers[2]}, Whiteouts::kKeep, upper, "upper-image");
  const int error =
      overlay.mount("overlay", "overlay", "lowerdir=" + upper.path() + ":" + lower.path());
  if (error == ENODEV) GTEST_SKIP() << "missing: CONFIG_OVERLAY_FS";
  ASSERT_EQ(error, 0) << std::strerror(error);
  EXPECT_EQ(names(overlay.path()), names(whole.path()));
  EXPECT_TRUE(names(whole.path()).contains("/opaque/top"));
  EXPECT_FALSE(names(whole.path()).contains("/opaque/gone"));
}

}  // namespace
}  // namespace dedup
