#include "format/layer_index_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "format/layer_builder.h"

namespace dedup {
namespace {

Digest digest_of(int n) {
  return sha256(dedup::as_bytes(std::to_string(n)));
}

Entry make(EntryType type, std::string path, std::string link = "") {
  Entry entry;
  entry.type = type;
  entry.path = std::move(path);
  entry.link_target = std::move(link);
  return entry;
}

// A layer with everything an index can hold.
LayerIndex sample() {
  LayerBuilder builder(4096);
  const auto add = [&builder](Entry entry) { EXPECT_TRUE(builder.add(std::move(entry)).ok()); };
  Entry directory = make(EntryType::kDirectory, "d");
  directory.xattrs = {{"user.a", std::string("\0\1", 2)}, {"user.empty", ""}};
  directory.mtime_seconds = -5;
  directory.mtime_nanoseconds = 999'999'999;
  add(directory);
  Entry file = make(EntryType::kRegular, "d/file");
  file.size = 3 * 4096;
  file.uid = UINT32_MAX - 1;
  file.mode = 07777;
  add(file);
  for (const uint64_t offset : {uint64_t{0}, uint64_t{8192}}) {
    Extent extent;
    extent.identity = digest_of(static_cast<int>(offset));
    extent.file_offset = offset;
    extent.bytes = 4096;
    std::vector<Chunk> chunks(2);
    for (Chunk& chunk : chunks) chunk = {1ull << 40, 77, 3, 2048, Codec::kZstd, digest_of(3)};
    EXPECT_TRUE(builder.add_extent(extent, chunks).ok());
  }
  add(make(EntryType::kHardLink, "link", "d/file"));
  add(make(EntryType::kSymlink, "sym\xff", "t"));
  Entry device = make(EntryType::kCharDevice, "dev");
  device.rdev_major = 4095;
  device.rdev_minor = 1048575;
  add(device);
  add(make(EntryType::kRegular, ".wh.gone"));
  add(make(EntryType::kRegular, "o/.wh..wh..opq"));
  return *builder.finish();
}

std::vector<Slot> slots_of(const LayerIndex& index) {
  std::vector<Slot> slots;
  for (size_t i = 0; i < index.extents.size(); ++i) slots.push_back({7, (1ull << 33) + i * 4096});
  return slots;
}

// The file with a change, and with a digest that fits again: only the checks behind the digest can
// refuse it.
Bytes resealed(Bytes file) {
  file.erase(file.end() - 32, file.end());
  const Digest digest = sha256(file);
  file.insert(file.end(), digest.bytes.begin(), digest.bytes.end());
  return file;
}

TEST(LayerIndexFile, RoundTrip) {
  const LayerIndex index = sample();
  const auto slots = slots_of(index);
  auto decoded = decode_layer_index(encode_layer_index(index, slots));
  ASSERT_TRUE(decoded.ok()) << decoded.error().to_string();
  EXPECT_EQ(decoded->index, index);
  EXPECT_EQ(decoded->slots, slots);
  decoded = decode_layer_index(encode_layer_index(index, {}));
  ASSERT_TRUE(decoded.ok());
  EXPECT_TRUE(decoded->slots.empty());
  EXPECT_EQ(encode_layer_index(index, slots), encode_layer_index(index, slots));
}

TEST(LayerIndexFile, EveryTruncationIsRefused) {
  const LayerIndex index = sample();
  const Bytes file = encode_layer_index(index, slots_of(index));
  for (size_t bytes = 0; bytes < file.size(); ++bytes) {
    Bytes cut(file.begin(), file.begin() + static_cast<ptrdiff_t>(bytes));
    auto decoded = decode_layer_index(cut);
    ASSERT_FALSE(decoded.ok()) << bytes;
    EXPECT_EQ(decoded.error().code, Errc::kCorruption);
    if (bytes < 32) continue;
    cut = resealed(std::move(cut));
    EXPECT_FALSE(decode_layer_index(cut).ok()) << bytes;
  }
  Bytes longer = file;
  longer.insert(longer.end() - 32, std::byte{0});
  EXPECT_FALSE(decode_layer_index(resealed(longer)).ok());
}

TEST(LayerIndexFile, EveryDamagedByteIsRefused) {
  const Bytes file = encode_layer_index(sample(), {});
  for (size_t at = 0; at < file.size(); ++at) {
    Bytes damaged = file;
    damaged[at] ^= std::byte{0x10};
    EXPECT_FALSE(decode_layer_index(damaged).ok()) << at;
  }
}

TEST(LayerIndexFile, LiesBehindAGoodDigestNeverCrash) {
  const LayerIndex index = sample();
  const Bytes file = encode_layer_index(index, slots_of(index));
  std::mt19937 random(5);
  for (size_t at = 0; at + 32 < file.size(); ++at) {
    for (const int value : {0, 1, 0x7f, 0xff}) {
      Bytes damaged = file;
      damaged[at] = static_cast<std::byte>(value);
      (void)decode_layer_index(resealed(std::move(damaged)));
    }
  }
}

TEST(LayerIndexFile, NewerVersionIsUnsupported) {
  Bytes file = encode_layer_index(sample(), {});
  file[8] = std::byte{2};
  EXPECT_EQ(decode_layer_index(resealed(file)).error().code, Errc::kUnsupported);
  file[0] = std::byte{0};
  EXPECT_EQ(decode_layer_index(resealed(file)).error().code, Errc::kCorruption);
}

TEST(LayerIndexFile, BadReferencesAreRefused) {
  const auto accepts = [](const std::function<void(LayerIndex&, std::vector<Slot>&)>& change) {
    LayerIndex index = sample();
    auto slots = slots_of(index);
    change(index, slots);
    return decode_layer_index(encode_layer_index(index, slots)).ok();
  };
  const InodeIndex directory = 1;  // "d", then "d/file"
  EXPECT_TRUE(accepts([](LayerIndex&, std::vector<Slot>&) {}));
  EXPECT_FALSE(accepts([](LayerIndex& i, auto&) { i.inodes.clear(); }));
  EXPECT_FALSE(accepts([](LayerIndex& i, auto&) { i.inodes[0].mode = S_IFREG; }));
  EXPECT_FALSE(accepts([](LayerIndex& i, auto&) { i.chunk_bytes = 4097; }));
  EXPECT_FALSE(accepts([](LayerIndex& i, auto&) { i.chunk_bytes = 512; }));
  EXPECT_FALSE(
      accepts([&](LayerIndex& i, auto&) { i.inodes[directory].children[0].inode = 9999; }));
  EXPECT_FALSE(accepts([&](LayerIndex& i, auto&) { i.inodes[directory].children[0].inode = 0; }));
  EXPECT_FALSE(accepts([&](LayerIndex& i, auto&) {
    i.inodes[directory].children[0].inode = directory;
  })) << "a cycle";
  EXPECT_FALSE(accepts([&](LayerIndex& i, auto&) {
    i.inodes[0].children.push_back({"zz", directory});
  })) << "a directory with two names";
  for (const char* name : {"", ".", "..", "a/b"}) {
    EXPECT_FALSE(accepts([&](LayerIndex& i, auto&) {
      i.inodes[directory].children[0].name = name;
    })) << name;
  }
  EXPECT_FALSE(accepts(
      [](LayerIndex& i, auto&) { std::swap(i.inodes[0].children[0], i.inodes[0].children[1]); }));
  EXPECT_FALSE(accepts(
      [](LayerIndex& i, auto&) { i.inodes[0].children[1].name = i.inodes[0].children[0].name; }));
  EXPECT_FALSE(accepts([](LayerIndex& i, auto&) { i.inodes[2].extent_count = 3; }));
  EXPECT_FALSE(accepts([](LayerIndex& i, auto&) { i.inodes[2].first_extent = UINT32_MAX; }));
  EXPECT_FALSE(accepts([](LayerIndex& i, auto&) { i.inodes[2].size = 8192; }));
  EXPECT_FALSE(accepts([](LayerIndex& i, auto&) { i.inodes[2].children.push_back({"x", 3}); }));
  EXPECT_FALSE(accepts([](LayerIndex& i, auto&) { i.inodes[0].extent_count = 1; }));
  EXPECT_FALSE(accepts([](LayerIndex& i, auto&) { i.extents[1].file_offset = 0; }));
  EXPECT_FALSE(accepts([](LayerIndex& i, auto&) { i.extents[1].file_offset = UINT64_MAX; }));
  EXPECT_FALSE(accepts([](LayerIndex& i, auto&) { i.extents[1].chunk_count = 3; }));
  EXPECT_FALSE(accepts([](LayerIndex& i, auto&) { i.chunks[0].codec = static_cast<Codec>(3); }));
  EXPECT_FALSE(accepts([](LayerIndex&, auto& slots) { slots.pop_back(); }));
  EXPECT_FALSE(accepts([](LayerIndex&, auto& slots) { slots[0].offset = 100; }));
}

}  // namespace
}  // namespace dedup
