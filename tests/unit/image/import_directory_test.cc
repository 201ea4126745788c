#include "image/import_directory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "image/metadata_image.h"
#include "unit/pool/pool_rig.h"

namespace dedup::test {
namespace {

constexpr uint32_t kChunk = 4096;

class ImportDirectory : public ::testing::Test {
 protected:
  void SetUp() override {
    rig.options.chunk_bytes = kChunk;
    rig.open();
    tree = rig.dir / "tree";
    std::filesystem::create_directories(tree + "/d/sub");
  }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(tree + "/" + name, std::ios::binary) << text;
  }
  Result<LayerRecord> import() {
    auto writer = LayerWriter::open(rig.pool->catalog(), rig.options.directory,
                                    rig.pool->new_segment(), rig.pool->missing(), kChunk, {});
    TRY(import_directory(tree, **writer, kChunk));
    LayerRecord record;
    record.format = "directory";
    TRY(plan, (*writer)->finish(std::move(record)));
    return rig.loop.run(rig.pool->add_layer(std::move(plan)));
  }
  PlacedLayer placed(Digest layer) { return std::move(*rig.loop.run(rig.pool->load_layer(layer))); }
  static const Inode* find(const LayerIndex& index, const std::string& name,
                           const Inode* in = nullptr) {
    for (const DirEntry& child : (in == nullptr ? &index.inodes[kRootInode] : in)->children) {
      if (child.name == name) return &index.inodes[child.inode];
    }
    return nullptr;
  }

  PoolRig rig;
  std::string tree;
};

TEST_F(ImportDirectory, KeepsWhatTheTreeHolds) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: mknod, trusted xattrs";
  write("d/file", noise(1, 10'000));
  std::filesystem::create_hard_link(tree + "/d/file", tree + "/link");
  std::filesystem::create_symlink("d/../nowhere", tree + "/soft");
  ASSERT_EQ(::mknod((tree + "/d/gone").c_str(), S_IFCHR | 0600, 0), 0);
  ASSERT_EQ(::mknod((tree + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
  ASSERT_EQ(::mkfifo((tree + "/fifo").c_str(), 0640), 0);
  write("sparse", "");
  std::filesystem::resize_file(tree + "/sparse", 10 * kChunk + 5);
  {
    const UniqueFd fd(::open((tree + "/sparse").c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::pwrite(fd.get(), "x", 1, 6 * kChunk + 10), 1);
  }
  if (::setxattr((tree + "/d/sub").c_str(), "trusted.overlay.opaque", "y", 1, 0) != 0)
    GTEST_SKIP() << "needs trusted xattrs";
  const bool user_xattrs = ::setxattr((tree + "/d/file").c_str(), "user.note", "v\0w", 3, 0) == 0;
  ASSERT_EQ(::chmod((tree + "/d").c_str(), 02711), 0);
  ASSERT_EQ(::lchown((tree + "/d").c_str(), 1234, 70000), 0);
  const timespec times[2] = {{7, 1}, {-5, 123456789}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (tree + "/fifo").c_str(), times, 0), 0);

  const auto record = import();
  ASSERT_TRUE(record.ok()) << record.error().to_string();
  const PlacedLayer layer = placed(record->digest);
  const LayerIndex& index = *layer.index;
  const Inode* d = find(index, "d");
  ASSERT_NE(d, nullptr);
  EXPECT_EQ(d->mode, static_cast<uint32_t>(S_IFDIR | 02711));
  EXPECT_EQ(d->uid, 1234U);
  EXPECT_EQ(d->gid, 70000U);
  EXPECT_EQ(d->link_count, 3U);
  EXPECT_FALSE(d->opaque);
  EXPECT_EQ(find(index, "file", d), find(index, "link")) << "a hard link is one inode";
  EXPECT_EQ(find(index, "link")->link_count, 2U);
  EXPECT_EQ(find(index, "link")->extent_count, 3U);
  if (user_xattrs) {
    ASSERT_EQ(find(index, "link")->xattrs.size(), 1U);
    EXPECT_EQ(find(index, "link")->xattrs[0], (Xattr{"user.note", std::string("v\0w", 3)}));
  }
  EXPECT_EQ(find(index, "soft")->symlink_target, "d/../nowhere");
  ASSERT_NE(find(index, "gone", d), nullptr);
  EXPECT_TRUE(find(index, "gone", d)->is_whiteout());
  EXPECT_EQ(find(index, "null")->rdev_major, 1U);
  EXPECT_EQ(find(index, "null")->rdev_minor, 3U);
  EXPECT_TRUE(S_ISFIFO(find(index, "fifo")->mode));
  EXPECT_EQ(find(index, "fifo")->mtime_seconds, -5);
  EXPECT_EQ(find(index, "fifo")->mtime_nanoseconds, 123456789U);
  EXPECT_TRUE(find(index, "sub", d)->opaque);
  EXPECT_TRUE(find(index, "sub", d)->xattrs.empty()) << "overlay marks are no xattrs of the layer";
  const Inode* sparse = find(index, "sparse");
  EXPECT_EQ(sparse->size, 10 * kChunk + 5U);
  ASSERT_EQ(sparse->extent_count, 1U) << "holes take no space";
  EXPECT_EQ(index.extents[sparse->first_extent].file_offset, 6U * kChunk);
  EXPECT_EQ(rig.read_file(record->digest, "link"), noise(1, 10'000));
  EXPECT_TRUE(rig.check().bad.empty());

  const auto again = import();
  ASSERT_TRUE(again.ok()) << again.error().to_string();
  EXPECT_EQ(again->digest, record->digest);
  write("d/file", noise(2, 10'000));
  EXPECT_NE(import()->digest, record->digest);

  // The metadata image of it is what fsck.erofs calls clean.
  std::map<SegmentId, uint64_t> sizes{{kZeroSegment, kZeroSegmentBytes}};
  for (const auto& one : rig.pool->segments()) sizes[one->id()] = one->header().data_bytes;
  for (const Whiteouts whiteouts : {Whiteouts::kApply, Whiteouts::kKeep}) {
    const std::string path = rig.dir / "image.erofs";
    const auto image = build_metadata_image({layer}, whiteouts, record->digest, sizes, path);
    ASSERT_TRUE(image.ok()) << image.error().to_string();
    EXPECT_EQ(image->bytes, std::filesystem::file_size(path));
    EXPECT_FALSE(std::filesystem::exists(path + ".new"));
    ASSERT_TRUE(image->probes.contains(record->segment));
    const ProbeFile& probe = image->probes.at(record->segment);
    EXPECT_TRUE(rig.present(record->segment, {probe.segment_offset, 1})) << probe.path;
    std::string command = "fsck.erofs -d3";
    for (const SegmentId device : image->devices)
      command += " --device=" + Segment::data_path(rig.segments(), device);
    command += " " + path + " 2>&1";
    if (std::system("command -v fsck.erofs >/dev/null") != 0) GTEST_SKIP() << "needs fsck.erofs";
    FILE* pipe = ::popen(command.c_str(), "r");
    std::string output;
    for (int c; (c = std::fgetc(pipe)) != EOF;) output += static_cast<char>(c);
    EXPECT_EQ(::pclose(pipe), 0) << output;
    EXPECT_NE(output.find("No errors found"), std::string::npos) << output;
  }
}

TEST_F(ImportDirectory, AnOpaqueRootAndAnEmptyTree) {
  std::filesystem::remove_all(tree + "/d");
  auto record = import();
  ASSERT_TRUE(record.ok()) << record.error().to_string();
  EXPECT_EQ(record->segment, kZeroSegment);
  EXPECT_TRUE(placed(record->digest).index->inodes[kRootInode].children.empty());
  if (::setxattr(tree.c_str(), "trusted.overlay.opaque", "y", 1, 0) != 0)
    GTEST_SKIP() << "needs trusted xattrs";
  record = import();
  ASSERT_TRUE(record.ok()) << record.error().to_string();
  EXPECT_TRUE(placed(record->digest).index->inodes[kRootInode].opaque);
}

TEST_F(ImportDirectory, RefusesWhatALayerCannotHold) {
  if (::setxattr((tree + "/d").c_str(), "trusted.overlay.redirect", "/x", 2, 0) != 0)
    GTEST_SKIP() << "needs trusted xattrs";
  const auto refused = import();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kUnsupported);
  EXPECT_NE(refused.error().context.find("/d"), std::string::npos);
  EXPECT_EQ(PoolRig::names_in(rig.segments()).size(), 1U) << "a dropped pass leaves no file";
  tree = rig.dir / "nothing";
  EXPECT_EQ(import().error().code, Errc::kNotFound);
}

}  // namespace
}  // namespace dedup::test
