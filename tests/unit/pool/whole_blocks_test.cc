// Segments behind a kernel that takes every block that is no hole for present.
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>

#include "pool/files.h"
#include "unit/pool/pool_rig.h"

namespace dedup::test {
namespace {

constexpr uint64_t kBlock = kPoolBlockBytes;

// One file of chunks with these sizes, side by side: all one extent.
LazyLayer one_extent(const std::vector<size_t>& chunk_bytes) {
  LazyLayer layer;
  LayerBuilder builder;
  std::vector<Chunk> chunks;
  for (const size_t bytes : chunk_bytes) {
    const std::string content = noise(static_cast<unsigned>(chunks.size()), bytes);
    Chunk chunk;
    chunk.blob_offset = layer.bytes.size();
    chunk.blob_bytes = chunk.bytes = bytes;
    chunk.digest = sha256(as_bytes(content));
    chunks.push_back(chunk);
    layer.bytes += content;
  }
  EXPECT_TRUE(builder.add(regular("file", layer.bytes.size())).ok());
  Extent extent;
  extent.identity = sha256(as_bytes(layer.bytes));
  extent.bytes = layer.bytes.size();
  EXPECT_TRUE(builder.add_extent(extent, chunks).ok());
  layer.finish(builder);
  return layer;
}

class WholeBlocksTest : public ::testing::Test {
 protected:
  void SetUp() override { rig.open(); }

  void begin(bool unread) {
    Result<void> outcome;
    rig.loop.call([&] { outcome = rig.pool->write_whole_blocks(unread); });
    if (!outcome.ok() && outcome.error().code == Errc::kUnsupported)
      GTEST_SKIP() << outcome.error().to_string();
    ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
  }
  void add(LazyLayer made) {
    layer = std::move(made);
    const auto record = rig.add(layer);
    ASSERT_TRUE(record.ok()) << record.error().to_string();
    segment = record->segment;
  }
  UniqueFd data(int flags = O_RDWR) const {
    return UniqueFd(::open(Segment::data_path(rig.segments(), segment).c_str(), flags | O_CLOEXEC));
  }
  // One letter per block: '#' written, '.' a hole.
  std::string blocks() const {
    const UniqueFd fd = data();
    const off_t end = ::lseek(fd.get(), 0, SEEK_END);
    std::string map;
    for (off_t at = 0; at < end; at += static_cast<off_t>(kBlock)) {
      map.push_back(::lseek(fd.get(), at, SEEK_DATA) == at ? '#' : '.');
    }
    return map;
  }
  // How many blocks the page cache holds.
  size_t cached_blocks() const {
    const UniqueFd fd = data();
    const auto bytes = static_cast<size_t>(::lseek(fd.get(), 0, SEEK_END));
    void* const memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd.get(), 0);
    EXPECT_NE(memory, MAP_FAILED);
    std::vector<unsigned char> resident(bytes / kBlock);
    EXPECT_EQ(::mincore(memory, bytes, resident.data()), 0);
    ::munmap(memory, bytes);
    return static_cast<size_t>(
        std::ranges::count_if(resident, [](unsigned char page) { return (page & 1) != 0; }));
  }
  void spoil(uint64_t offset, size_t bytes) const {
    const UniqueFd fd = data();
    const std::string junk(bytes, 'x');
    ASSERT_EQ(::pwrite(fd.get(), junk.data(), bytes, static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes));
    ASSERT_EQ(::fsync(fd.get()), 0);
  }
  void corrupt_at(uint64_t blob_offset, bool on) {
    rig.loop.call([&] {
      rig.source.intervene = nullptr;
      if (!on) return;
      rig.source.intervene = [this, blob_offset](const FakeSource::Read& read,
                                                 size_t) -> std::optional<Result<Bytes>> {
        if (!read.range.contains({blob_offset, 1})) return std::nullopt;
        const auto truth =
            as_bytes(rig.source.blobs[read.blob]).subspan(read.range.offset, read.range.length);
        Bytes bytes(truth.begin(), truth.end());
        bytes[blob_offset - read.range.offset] ^= std::byte{1};
        return Result<Bytes>(std::move(bytes));
      };
    });
  }

  PoolRig rig;
  LazyLayer layer;
  SegmentId segment = 0;
};

TEST_F(WholeBlocksTest, WritesWholeBlocksAndNothingElse) {
  begin(true);
  const std::vector<NamedFile> files = {
      {"a", noise(1, 5000)}, {"b", noise(2, 4096)}, {"c", noise(3, 10000)}};
  add(LazyLayer::make(files));  // slots of 2, 1 and 3 blocks
  EXPECT_EQ(blocks(), "......");
  ASSERT_TRUE(rig.ensure(segment, {2 * kBlock, 1}).ok());
  EXPECT_EQ(blocks(), "..#...");
  ASSERT_TRUE(rig.ensure(segment, {0, 1}).ok());
  EXPECT_EQ(blocks(), "###...");
  ASSERT_TRUE(rig.ensure(segment, {0, 6 * kBlock}).ok());
  EXPECT_EQ(blocks(), "######");
  for (const auto& [path, content] : files) EXPECT_TRUE(rig.read_file(layer.blob, path) == content);
  Bytes padding(2 * kBlock - 5000);
  const UniqueFd fd = data();
  ASSERT_TRUE(read_exactly(fd.get(), padding, 5000, "padding").ok());
  EXPECT_EQ(padding, Bytes(padding.size()));
}

// A page that waits to be written back is no hole any more, and not on disk, where the kernel
// reads.
TEST_F(WholeBlocksTest, WritesPassByThePageCache) {
  begin(true);
  struct statfs status {};
  ASSERT_EQ(::statfs(rig.options.directory.c_str(), &status), 0);
  if (status.f_type == TMPFS_MAGIC) GTEST_SKIP() << "a tmpfs is all page cache";
  const std::vector<NamedFile> files = {{"a", noise(1, 5000)}, {"b", noise(2, 4096)}};
  add(LazyLayer::make(files));
  ASSERT_TRUE(rig.ensure(segment, {2 * kBlock, 1}).ok());
  ASSERT_TRUE(rig.stream({files[0], {"new", noise(9, 7000)}}, PoolRig::record_of("other")).ok());
  ASSERT_EQ(blocks(), "###");
  EXPECT_EQ(cached_blocks(), 0u);
  EXPECT_TRUE(rig.read_file(layer.blob, "a") == files[0].second);
  EXPECT_GT(cached_blocks(), 0u);  // a page that is there is seen
}

TEST_F(WholeBlocksTest, PiecesThatShareABlockComeTogether) {
  begin(true);
  add(one_extent({5000, 5000, 2288, 4096, 100}));  // blocks: 0-2 shared, 3 alone, 4 alone
  ASSERT_TRUE(rig.ensure(segment, {4 * kBlock, 1}).ok());
  EXPECT_EQ(blocks(), "....#");
  ASSERT_TRUE(rig.ensure(segment, {0, 1}).ok());
  EXPECT_EQ(blocks(), "###.#");
  EXPECT_TRUE(rig.present(segment, {0, 3 * kBlock}));
  EXPECT_FALSE(rig.present(segment, {3 * kBlock, 1}));
  ASSERT_TRUE(rig.ensure(segment, {0, 5 * kBlock}).ok());
  EXPECT_TRUE(rig.read_file(layer.blob, "file") == layer.bytes);
  EXPECT_TRUE(rig.check().bad.empty());
}

TEST_F(WholeBlocksTest, OneBadPieceKeepsItsRunAHole) {
  begin(true);
  add(one_extent({5000, 5000, 2288, 4096}));
  corrupt_at(6000, true);
  const auto outcome = rig.ensure(segment, {0, 1});
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().code, Errc::kCorruption);
  EXPECT_EQ(blocks(), "....");
  EXPECT_FALSE(rig.present(segment, {0, 1}));
  corrupt_at(6000, false);
  ASSERT_TRUE(rig.ensure(segment, {0, 1}).ok());
  EXPECT_EQ(blocks(), "###.");
  ASSERT_TRUE(rig.ensure(segment, {0, 4 * kBlock}).ok());
  EXPECT_TRUE(rig.read_file(layer.blob, "file") == layer.bytes);
}

TEST_F(WholeBlocksTest, LeftoversOfADeathBecomeHoles) {
  add(one_extent({4096, 4096, 4096}));
  spoil(4096, 4096);
  rig.reopen();
  EXPECT_EQ(blocks(), ".#.");
  begin(true);
  EXPECT_EQ(blocks(), "...");
}

// A kernel that serves a mount may have looked at the block a moment ago.
TEST_F(WholeBlocksTest, NothingIsPunchedUnderAReader) {
  add(one_extent({4096, 4096, 4096}));
  spoil(4096, 4096);
  rig.reopen();
  begin(false);
  EXPECT_EQ(blocks(), ".#.");
}

TEST_F(WholeBlocksTest, HalfARunFromBeforeCountsAsMissing) {
  add(one_extent({5000, 7288, 4096}));
  ASSERT_TRUE(rig.ensure(segment, {0, 1}).ok());
  ASSERT_TRUE(rig.ensure(segment, {3 * kBlock, 1}).ok());
  rig.reopen();
  ASSERT_TRUE(rig.present(segment, {0, 5000}));
  begin(true);
  EXPECT_EQ(blocks(), "...#");
  EXPECT_FALSE(rig.present(segment, {0, 5000}));
  EXPECT_TRUE(rig.present(segment, {3 * kBlock, 4096}));
  ASSERT_TRUE(rig.ensure(segment, {0, 1}).ok());
  EXPECT_TRUE(rig.read_file(layer.blob, "file") == layer.bytes);
}

TEST_F(WholeBlocksTest, AStreamFillsWholeBlocks) {
  begin(true);
  const std::vector<NamedFile> files = {{"a", noise(1, 5000)}, {"b", noise(2, 300)}};
  add(LazyLayer::make(files));
  ASSERT_TRUE(rig.stream({files[1], {"new", noise(9, 7000)}}, PoolRig::record_of("other")).ok());
  EXPECT_EQ(blocks(), "..#");
  EXPECT_TRUE(rig.read_file(layer.blob, "b") == files[1].second);
}

TEST_F(WholeBlocksTest, RepairFetchesAtOnceAndMakesNoHole) {
  begin(true);
  add(one_extent({5000, 7288, 4096}));
  ASSERT_TRUE(rig.ensure(segment, {0, 4 * kBlock}).ok());
  spoil(100, 1);
  EXPECT_EQ(rig.check(true).bad.size(), 1u);
  EXPECT_EQ(blocks(), "####");
  EXPECT_TRUE(rig.present(segment, {0, 4 * kBlock}));
  EXPECT_TRUE(rig.check().bad.empty());
}

// What the kernel does: a block that is no hole is read with O_DIRECT, at once. The reader waits
// for each block in turn, to be there in its first moment; pieces come from workers in any order.
TEST_F(WholeBlocksTest, NoBlockLooksWrittenBeforeItIs) {
  begin(true);
  constexpr size_t kRuns = 200;
  constexpr size_t kRunBlocks = 3;
  constexpr size_t kBlocks = kRuns * kRunBlocks;
  std::vector<size_t> chunks;
  for (size_t i = 0; i < kRuns; ++i) chunks.insert(chunks.end(), {5000, 5000, 2288});
  add(one_extent(chunks));
  const UniqueFd fd = data(O_RDONLY | O_DIRECT);
  std::atomic<bool> stop = false;
  std::atomic<size_t> seen = 0;
  std::atomic<size_t> wrong = 0;
  std::thread reader([&] {
    const std::unique_ptr<std::byte, void (*)(void*)> page(
        static_cast<std::byte*>(std::aligned_alloc(kBlock, kBlock)), std::free);
    for (size_t i = 0; i < kBlocks; ++i) {
      const auto at = static_cast<off_t>(i * kBlock);
      while (::lseek(fd.get(), at, SEEK_DATA) != at) {
        if (stop) return;
      }
      ++seen;
      if (::pread(fd.get(), page.get(), kBlock, at) != static_cast<ssize_t>(kBlock) ||
          as_text({page.get(), kBlock}) !=
              std::string_view(layer.bytes).substr(i * kBlock, kBlock)) {
        ++wrong;
      }
    }
  });
  for (size_t i = 0; i < kBlocks; i += kRunBlocks) {
    EXPECT_TRUE(rig.ensure(segment, {i * kBlock, 1}).ok());
    while (seen < i + kRunBlocks) std::this_thread::yield();
  }
  stop = true;
  reader.join();
  EXPECT_EQ(seen, kBlocks);
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace dedup::test
