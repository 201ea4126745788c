#include "format/layer_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>

#include "base/bytes.h"

namespace dedup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Entry make(EntryType type, std::string path, std::string link_target = "") {
  Entry entry;
  entry.type = type;
  entry.path = std::move(path);
  entry.link_target = std::move(link_target);
  entry.mode = type == EntryType::kDirectory ? 0755 : 0644;
  entry.mtime_seconds = 1000;
  return entry;
}
Entry directory(std::string path) {
  return make(EntryType::kDirectory, std::move(path));
}
Entry symlink(std::string path, std::string to) {
  return make(EntryType::kSymlink, std::move(path), std::move(to));
}
Entry link(std::string path, std::string to) {
  return make(EntryType::kHardLink, std::move(path), std::move(to));
}
Entry file(std::string path, uint64_t size = 0) {
  Entry entry = make(EntryType::kRegular, std::move(path));
  entry.size = size;
  return entry;
}

Extent extent_of(uint64_t file_offset, uint64_t bytes, Digest identity = {}) {
  Extent extent;
  extent.identity = identity;
  extent.file_offset = file_offset;
  extent.bytes = bytes;
  return extent;
}
Chunk chunk_of(uint64_t bytes, Digest digest = {}) {
  Chunk chunk;
  chunk.bytes = bytes;
  chunk.digest = digest;
  return chunk;
}

// "path type" of every name, in order; whiteouts are "!", opaque directories "dO", implicit ones
// "di".
void list(const LayerIndex& index, InodeIndex at, const std::string& path,
          std::vector<std::string>& out) {
  for (const DirEntry& child : index.inodes[at].children) {
    const Inode& inode = index.inodes[child.inode];
    std::string type = inode.is_whiteout()    ? "!"
                       : inode.is_directory() ? "d"
                       : inode.is_regular()   ? "f"
                                              : "o";
    if (inode.opaque) type += "O";
    if (inode.implicit) type += "i";
    out.push_back(path + child.name + " " + type);
    list(index, child.inode, path + child.name + "/", out);
  }
}
std::vector<std::string> list(const LayerIndex& index) {
  std::vector<std::string> out;
  list(index, kRootInode, "", out);
  return out;
}

InodeIndex find(const LayerIndex& index, std::string_view path) {
  InodeIndex at = kRootInode;
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(name.size() + 1, path.size()));
    bool found = false;
    for (const DirEntry& child : index.inodes[at].children) {
      if (child.name != name) continue;
      at = child.inode;
      found = true;
      break;
    }
    EXPECT_TRUE(found) << name;
  }
  return at;
}
const Inode& inode_at(const LayerIndex& index, std::string_view path) {
  return index.inodes[find(index, path)];
}

LayerIndex build(std::vector<Entry> entries) {
  LayerBuilder builder;
  for (Entry& entry : entries) {
    auto added = builder.add(std::move(entry));
    EXPECT_TRUE(added.ok()) << added.error().to_string();
  }
  auto index = builder.finish();
  EXPECT_TRUE(index.ok());
  return std::move(*index);
}

// The error of the last entry; the others must be accepted.
Error refused(std::vector<Entry> entries, LayerLimits limits = {}) {
  LayerBuilder builder(kDefaultChunkBytes, limits);
  for (size_t i = 0; i < entries.size(); ++i) {
    auto added = builder.add(entries[i]);
    if (i + 1 < entries.size()) {
      EXPECT_TRUE(added.ok()) << added.error().to_string();
    } else {
      EXPECT_FALSE(added.ok()) << entries[i].path;
      return added.ok() ? Error{} : added.error();
    }
  }
  return {};
}

TEST(LayerBuilder, CleansPathsAndMakesParents) {
  const LayerIndex index = build({file("./a/b//c"), file("/a/d"), directory("e/")});
  EXPECT_THAT(list(index), ElementsAre("a di", "a/b di", "a/b/c f", "a/d f", "e d"));
  const Inode& implicit = inode_at(index, "a");
  EXPECT_EQ(implicit.mode, S_IFDIR | 0755u);
  EXPECT_EQ(implicit.mtime_seconds, 0);
  EXPECT_TRUE(index.inodes[kRootInode].implicit);
}

TEST(LayerBuilder, RootEntrySetsTheRoot) {
  Entry root = directory("./");
  root.mode = 0700;
  root.uid = 7;
  const LayerIndex index = build({file(".wh..wh..opq"), root});
  EXPECT_EQ(index.inodes[kRootInode].mode, S_IFDIR | 0700u);
  EXPECT_EQ(index.inodes[kRootInode].uid, 7u);
  EXPECT_FALSE(index.inodes[kRootInode].implicit);
  EXPECT_TRUE(index.inodes[kRootInode].opaque);
}

TEST(LayerBuilder, LaterEntryReplacesEarlier) {
  const LayerIndex index = build({file("a", 5), symlink("b", "x"), directory("c"), file("c/gone"),
                                  symlink("a", "y"), file("b", 1), file("c")});
  EXPECT_THAT(list(index), ElementsAre("a o", "b f", "c f"));
  EXPECT_EQ(inode_at(index, "a").symlink_target, "y");
  EXPECT_EQ(index.inodes.size(), 4u);
}

TEST(LayerBuilder, DirectoryOverDirectoryKeepsChildrenTakesAttributes) {
  Entry first = directory("d");
  first.xattrs = {{"user.a", "1"}, {"user.b", "1"}};
  Entry second = directory("d");
  second.mode = 0711;
  second.uid = 9;
  second.xattrs = {{"user.b", "2"}};
  const LayerIndex index = build({first, file("d/f"), second, file("d/g")});
  EXPECT_THAT(list(index), ElementsAre("d d", "d/f f", "d/g f"));
  const Inode& merged = inode_at(index, "d");
  EXPECT_EQ(merged.mode, S_IFDIR | 0711u);
  EXPECT_EQ(merged.uid, 9u);
  EXPECT_THAT(merged.xattrs, ElementsAre(Xattr{"user.a", "1"}, Xattr{"user.b", "2"}));
}

TEST(LayerBuilder, ReplacedDirectoryIsNotResolvedFromMemory) {
  // The parent of "d/x" was resolved for "d/f"; it must not receive the file once "d" is another
  // directory.
  const LayerIndex index =
      build({directory("d"), file("d/f"), file("d"), directory("d"), file("d/x")});
  EXPECT_THAT(list(index), ElementsAre("d d", "d/x f"));
}

TEST(LayerBuilder, LinkCounts) {
  const LayerIndex index = build({directory("d"), directory("d/e"), directory("d/f"), file("d/g"),
                                  link("h", "d/g"), link("i", "./h")});
  EXPECT_EQ(index.inodes[kRootInode].link_count, 3u);
  EXPECT_EQ(inode_at(index, "d").link_count, 4u);
  EXPECT_EQ(inode_at(index, "d/e").link_count, 2u);
  EXPECT_EQ(inode_at(index, "i").link_count, 3u);
  EXPECT_EQ(find(index, "i"), find(index, "d/g"));
}

TEST(LayerBuilder, HardLinkSharesAnyFileAndOutlivesTheFirstName) {
  Entry device = make(EntryType::kCharDevice, "dev");
  device.rdev_major = 1;
  device.rdev_minor = 3;
  const LayerIndex index = build({file("a", 3), link("b", "a"), symlink("s", "t"), link("s2", "s"),
                                  device, link("dev2", "dev"), file("a", 9)});
  EXPECT_EQ(inode_at(index, "b").size, 3u);
  EXPECT_EQ(inode_at(index, "b").link_count, 1u);
  EXPECT_EQ(inode_at(index, "a").size, 9u);
  EXPECT_EQ(inode_at(index, "s2").symlink_target, "t");
  EXPECT_EQ(inode_at(index, "s2").mode, S_IFLNK | 0777u);
  EXPECT_EQ(inode_at(index, "dev2").rdev_minor, 3u);
}

TEST(LayerBuilder, LastNameOfAHardLinkDecidesAttributes) {
  Entry second = link("b", "a");
  second.mode = 0600;
  second.uid = 5;
  second.mtime_seconds = 77;
  second.xattrs = {{"user.x", "1"}};
  const LayerIndex index = build({file("a", 3), second});
  const Inode& inode = inode_at(index, "a");
  EXPECT_EQ(inode.mode, S_IFREG | 0600u);
  EXPECT_EQ(inode.uid, 5u);
  EXPECT_EQ(inode.mtime_seconds, 77);
  EXPECT_EQ(inode.size, 3u);
  EXPECT_EQ(inode.xattrs.size(), 1u);
}

TEST(LayerBuilder, HardLinkToNothing) {
  EXPECT_EQ(refused({link("b", "a")}).code, Errc::kInvalid);
  EXPECT_THAT(refused({file("a"), link("b", "a/c")}).context, HasSubstr("does not have"));
  EXPECT_EQ(refused({file("a"), link("a", "a")}).code, Errc::kInvalid);
  EXPECT_EQ(refused({file("a"), link("./a", "/a")}).code, Errc::kInvalid);
  EXPECT_THAT(refused({directory("d"), link("b", "d")}).context, HasSubstr("directory"));
  EXPECT_THAT(refused({link("b", "/")}).context, HasSubstr("directory"));
  EXPECT_EQ(refused({directory("d"), file("d/f"), link("d", "d/f")}).code, Errc::kInvalid);
  EXPECT_EQ(refused({symlink("s", "d"), directory("d"), file("d/f"), link("b", "s/f")}).code,
            Errc::kInvalid);
}

TEST(LayerBuilder, Whiteouts) {
  const LayerIndex index = build({file("d/.wh.gone"), file(".wh.top"), directory("o"),
                                  file("o/.wh..wh..opq"), file("o/f"), file("p/.wh..wh..opq")});
  EXPECT_THAT(list(index), ElementsAre("d di", "d/gone !", "o dO", "o/f f", "p dOi", "top !"));
}

TEST(LayerBuilder, EntryWinsOverWhiteoutInAnyOrder) {
  EXPECT_THAT(list(build({file(".wh.a"), file("a")})), ElementsAre("a f"));
  EXPECT_THAT(list(build({file("a"), file(".wh.a")})), ElementsAre("a f"));
  EXPECT_THAT(list(build({file(".wh.a"), file(".wh.a")})), ElementsAre("a !"));
  EXPECT_THAT(list(build({file("x"), file(".wh.a"), link("a", "x")})), ElementsAre("a f", "x f"));
}

TEST(LayerBuilder, DirectoryOverWhiteoutHidesWhatIsBelow) {
  EXPECT_THAT(list(build({file(".wh.a"), directory("a"), file("a/f")})),
              ElementsAre("a dO", "a/f f"));
  EXPECT_THAT(list(build({directory("a"), file("a/f"), file(".wh.a")})),
              ElementsAre("a dO", "a/f f"));
  EXPECT_THAT(list(build({file(".wh.a"), file("a/f")})), ElementsAre("a dO", "a/f f"));
  EXPECT_THAT(list(build({file("a"), file(".wh.a"), directory("a")})), ElementsAre("a dO"));
}

TEST(LayerBuilder, AufsInternalsAreIgnoredWithTheirData) {
  LayerBuilder builder;
  for (const char* path : {".wh..wh.plnk", ".wh..wh.aufs", "d/.wh..wh.orph/x"}) {
    ASSERT_TRUE(builder.add(file(path, 10)).ok());
    EXPECT_TRUE(builder.add_extent(extent_of(0, 10), {}).ok());
  }
  ASSERT_TRUE(builder.add(file(".wh.x", 10)).ok());
  EXPECT_TRUE(builder.add_extent(extent_of(0, 10), {}).ok());
  const LayerIndex index = *builder.finish();
  EXPECT_THAT(list(index), ElementsAre("x !"));
  EXPECT_TRUE(index.extents.empty());
}

TEST(LayerBuilder, BadWhiteouts) {
  for (const char* path : {".wh.", "a/.wh.", ".wh..", ".wh...", ".wh.d/f"}) {
    EXPECT_EQ(refused({file(path)}).code, Errc::kInvalid) << path;
  }
}

TEST(LayerBuilder, RefusesDotDot) {
  for (const char* path : {"..", "../a", "a/../b", "/..", "a/.."}) {
    EXPECT_THAT(refused({file(path)}).context, HasSubstr("..")) << path;
  }
  EXPECT_EQ(refused({file("a"), link("b", "x/../a")}).code, Errc::kInvalid);
  EXPECT_EQ(build({symlink("s", "../../etc")}).inodes.size(), 2u);  // a symlink's text is its own
}

TEST(LayerBuilder, NeverWalksThroughSymlinksOrFiles) {
  EXPECT_THAT(refused({symlink("s", "/etc"), file("s/passwd")}).context,
              HasSubstr("not a directory"));
  EXPECT_THAT(refused({file("f"), file("f/g")}).context, HasSubstr("not a directory"));
  EXPECT_EQ(refused({symlink("s", "d"), directory("s/x")}).code, Errc::kInvalid);
  EXPECT_EQ(refused({symlink("s", "d"), file("s/.wh.x")}).code, Errc::kInvalid);
}

TEST(LayerBuilder, Limits) {
  EXPECT_TRUE(LayerBuilder().add(file(std::string(255, 'n'))).ok());
  EXPECT_THAT(refused({file(std::string(256, 'n'))}).context, HasSubstr("255"));
  EXPECT_TRUE(LayerBuilder().add(file(".wh." + std::string(255, 'n'))).ok());
  EXPECT_EQ(refused({file(".wh." + std::string(256, 'n'))}).code, Errc::kInvalid);
  std::string deep;
  while (deep.size() < 4094) deep += "d/";
  EXPECT_TRUE(LayerBuilder().add(file(deep + "f")).ok());  // 4095 bytes
  EXPECT_THAT(refused({file(deep + "ff")}).context, HasSubstr("4095"));
  EXPECT_EQ(refused({symlink("s", std::string(4096, 't'))}).code, Errc::kInvalid);
  EXPECT_EQ(refused({symlink("s", "")}).code, Errc::kInvalid);
  EXPECT_EQ(refused({file(std::string("a\0b", 3))}).code, Errc::kInvalid);
  EXPECT_EQ(refused({make(EntryType::kRegular, "")}).code, Errc::kInvalid);
  EXPECT_EQ(refused({make(EntryType::kRegular, "./")}).code, Errc::kInvalid);

  LayerLimits few;
  few.max_entries = 3;
  EXPECT_EQ(refused({file("a"), file("b"), file("c"), file("d")}, few).code, Errc::kNoSpace);
  EXPECT_EQ(refused({file("a/b/c/d")}, few).code, Errc::kNoSpace);  // implicit parents count
  LayerLimits small;
  small.max_file_bytes = 10;
  EXPECT_EQ(refused({file("a", 11)}, small).code, Errc::kInvalid);
  small.max_metadata_bytes = 100;
  EXPECT_EQ(refused({symlink("a", std::string(99, 't')), file("b")}, small).code, Errc::kNoSpace);
}

TEST(LayerBuilder, Numbers) {
  Entry entry = file("a");
  entry.uid = UINT32_MAX - 1;
  EXPECT_EQ(inode_at(build({entry}), "a").uid, UINT32_MAX - 1);
  entry.uid = UINT32_MAX;
  EXPECT_THAT(refused({entry}).context, HasSubstr("uid"));
  entry = file("a");
  entry.gid = 1ull << 32;
  EXPECT_THAT(refused({entry}).context, HasSubstr("gid"));
  entry = make(EntryType::kBlockDevice, "a");
  entry.rdev_minor = 1u << 20;
  EXPECT_EQ(refused({entry}).code, Errc::kInvalid);
  entry = file("a");
  entry.mtime_nanoseconds = 1'000'000'000;
  EXPECT_EQ(refused({entry}).code, Errc::kInvalid);
  EXPECT_THAT(refused({file("a\nb/../c")}).context, HasSubstr("a\\x0ab"));
}

TEST(LayerBuilder, KeepsOnlyXattrsAnUnpackerSets) {
  Entry entry = file("f");
  entry.xattrs = {{"user.z", "1"},
                  {"security.capability", "c"},
                  {"trusted.overlay.opaque", "y"},
                  {"com.apple.quarantine", "q"},
                  {"system.posix_acl_access", "p"},
                  {"user.z", "2"},
                  {"user.empty", ""}};
  Entry s = symlink("s", "t");
  s.xattrs = {{"user.x", "1"}, {"security.x", "1"}};
  const LayerIndex index = build({entry, s});
  EXPECT_THAT(inode_at(index, "f").xattrs,
              ElementsAre(Xattr{"security.capability", "c"}, Xattr{"system.posix_acl_access", "p"},
                          Xattr{"user.empty", ""}, Xattr{"user.z", "2"}));
  EXPECT_THAT(inode_at(index, "s").xattrs, ElementsAre(Xattr{"security.x", "1"}));
  entry.xattrs = {{"user." + std::string(251, 'n'), ""}};
  EXPECT_EQ(refused({entry}).code, Errc::kInvalid);
  entry.xattrs = {{"user.v", std::string(65537, 'v')}};
  EXPECT_EQ(refused({entry}).code, Errc::kInvalid);
  entry.xattrs = {{"user.", ""}};
  EXPECT_EQ(refused({entry}).code, Errc::kInvalid);
}

constexpr uint32_t kChunk = 4096;

TEST(LayerBuilder, ExtentsOfReplacedFilesAreDropped) {
  LayerBuilder builder(kChunk);
  const auto digest = [](int n) { return sha256(as_bytes(std::to_string(n))); };
  const auto put = [&](uint64_t offset, uint64_t bytes, int n) {
    const Chunk chunk = chunk_of(bytes, digest(n));
    auto added = builder.add_extent(extent_of(offset, bytes, digest(n)), std::span(&chunk, 1));
    EXPECT_TRUE(added.ok()) << added.error().to_string();
  };
  ASSERT_TRUE(builder.add(file("a", 5000)).ok());
  put(0, 4096, 1);
  put(4096, 904, 2);
  ASSERT_TRUE(builder.add(file("b", 10)).ok());
  put(0, 10, 3);
  ASSERT_TRUE(builder.add(file("a", 3 * 4096)).ok());
  put(0, 4096, 4);
  put(8192, 4096, 5);  // a hole before it
  const LayerIndex index = *builder.finish();
  ASSERT_EQ(index.extents.size(), 3u);
  ASSERT_EQ(index.chunks.size(), 3u);
  const Inode& a = inode_at(index, "a");
  EXPECT_EQ(a.extent_count, 2u);
  EXPECT_EQ(index.extents[a.first_extent].identity, digest(4));
  EXPECT_EQ(index.chunks[index.extents[a.first_extent + 1].first_chunk].digest, digest(5));
  EXPECT_EQ(index.extents[inode_at(index, "b").first_extent].identity, digest(3));
}

TEST(LayerBuilder, BadExtents) {
  const auto code = [](uint64_t size, std::vector<Extent> extents, std::vector<Chunk> chunks = {}) {
    LayerBuilder builder(kChunk);
    EXPECT_TRUE(builder.add(file("a", size)).ok());
    for (size_t i = 0; i + 1 < extents.size(); ++i) {
      EXPECT_TRUE(builder.add_extent(extents[i], {}).ok());
    }
    auto added = builder.add_extent(extents.back(), chunks);
    return added.ok() ? Errc::kIo : added.error().code;
  };
  const auto extent = [](uint64_t offset, uint64_t bytes) { return extent_of(offset, bytes); };
  EXPECT_EQ(code(9000, {extent(4096, 4096)}), Errc::kIo);
  EXPECT_EQ(code(9000, {extent(0, 9000)}), Errc::kIo);  // a whole file of any length
  EXPECT_EQ(code(9000, {extent(0, 0)}), Errc::kInvalid);
  EXPECT_EQ(code(9000, {extent(1, 4096)}), Errc::kInvalid);
  EXPECT_EQ(code(9000, {extent(4096, 4904)}), Errc::kInvalid);
  EXPECT_EQ(code(9000, {extent(0, 4000)}), Errc::kInvalid);
  EXPECT_EQ(code(9000, {extent(8192, 809)}), Errc::kInvalid);
  EXPECT_EQ(code(9000, {extent(4096, 4096), extent(0, 4096)}), Errc::kInvalid);
  EXPECT_EQ(code(9000, {extent(0, 4096), extent(0, 4096)}), Errc::kInvalid);
  EXPECT_EQ(code(9000, {extent(UINT64_MAX - 4095, 4096)}), Errc::kInvalid);
  EXPECT_EQ(code(100, {extent(0, 100)}, {chunk_of(60), chunk_of(39)}), Errc::kInvalid);
  EXPECT_EQ(code(100, {extent(0, 100)}, {chunk_of(60), chunk_of(40)}), Errc::kIo);

  LayerBuilder builder(kChunk);
  EXPECT_FALSE(builder.add_extent(extent(0, 1), {}).ok());
  ASSERT_TRUE(builder.add(directory("d")).ok());
  EXPECT_FALSE(builder.add_extent(extent(0, 1), {}).ok());
}

TEST(LayerBuilder, IsEmptyAfterFinish) {
  LayerBuilder builder;
  ASSERT_TRUE(builder.add(file("a")).ok());
  ASSERT_EQ(builder.finish()->inodes.size(), 2u);
  EXPECT_EQ(builder.finish()->inodes.size(), 1u);
}

// Entries must cost what their number says, not its square: 10,000 and 80,000 files in one
// directory, names in an order that never ends at the last, parents changing all the time.
TEST(LayerBuilder, NoQuadraticCost) {
  const auto seconds = [](uint32_t files) {
    const auto begin = std::chrono::steady_clock::now();
    LayerBuilder builder;
    for (uint32_t i = 0; i < files; ++i) {
      const std::string name = std::to_string(i * 2654435761u);
      EXPECT_TRUE(builder.add(file("usr/share/one/" + name)).ok());
      EXPECT_TRUE(builder.add(file("usr/lib/" + std::to_string(i % 500) + "/" + name)).ok());
    }
    EXPECT_EQ(builder.finish()->inodes.size(), 2u * files + 500 + 5);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const double few = seconds(10'000);
  const double many = seconds(80'000);
  RecordProperty("entries_160000_ms", static_cast<int>(many * 1000));
  std::printf("20,000 entries: %.0f ms, 160,000 entries: %.0f ms\n", few * 1000, many * 1000);
  EXPECT_LT(many, 24 * few + 0.5);
}

}  // namespace
}  // namespace dedup
