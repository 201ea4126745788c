// What tests of the pool share: LazyLayer makes layers whose blob is their files' bytes one after
// the other; stream_layer brings files in by a streaming pass; PoolRig is a pool on a loop of its
// own that can be closed, reopened, or left as a death would leave it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "pool/layer_writer.h"
#include "unit/io/loop_thread.h"
#include "unit/pool/fake_source.h"
#include "unit/snapshotter/temp_dir.h"

namespace dedup::test {

using NamedFile = std::pair<std::string, std::string>;  // path, content

inline Entry regular(const std::string& path, uint64_t bytes) {
  Entry entry;
  entry.path = path;
  entry.mode = 0644;
  entry.size = bytes;
  return entry;
}

// Bytes no other seed gives.
inline std::string noise(unsigned seed, size_t bytes) {
  std::string text(bytes, '\0');
  uint64_t state = seed * 0x9E3779B97F4A7C15ull + 1;
  for (char& c : text) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    c = static_cast<char>(state >> 56);
  }
  return text;
}

struct LazyLayer {
  Digest blob;
  std::string bytes;
  LayerPlan plan;

  // gap: bytes of the blob before each file, as tar headers would be.
  static LazyLayer make(const std::vector<NamedFile>& files, size_t gap = 0) {
    LazyLayer layer;
    LayerBuilder builder;
    for (const auto& [path, content] : files) {
      layer.bytes += std::string(gap, '#');
      EXPECT_TRUE(builder.add(regular(path, content.size())).ok());
      Chunk chunk;
      chunk.blob_offset = layer.bytes.size();
      chunk.blob_bytes = chunk.bytes = content.size();
      chunk.digest = sha256(as_bytes(content));
      Extent extent;
      extent.identity = chunk.digest;
      extent.bytes = content.size();
      EXPECT_TRUE(builder.add_extent(extent, {&chunk, 1}).ok());
      layer.bytes += content;
    }
    layer.finish(builder);
    return layer;
  }

  void finish(LayerBuilder& builder) {
    blob = sha256(as_bytes("blob of " + bytes));
    plan.record = {blob,        sha256(as_bytes("tar of " + bytes)), "estargz", bytes.size(), 0,
                   kZeroSegment};
    plan.index = std::move(builder.finish()).value();
  }
};

inline Result<void> write_files(LayerWriter& writer, const std::vector<NamedFile>& files) {
  for (const auto& [path, content] : files) {
    TRY(writer.add(regular(path, content.size())));
    if (!content.empty()) TRY(writer.add_extent(0, as_bytes(content), sha256(as_bytes(content))));
  }
  return {};
}

class PoolRig {
 public:
  explicit PoolRig(unsigned threads = 2) : workers(loop.ring(), threads) {
    options.directory = dir / "pool";
  }
  ~PoolRig() { close(); }

  void open() {
    auto opened = Pool::open(loop.ring(), workers, log, source, options);
    ASSERT_TRUE(opened.ok()) << opened.error().to_string();
    pool = std::move(*opened);
  }
  void close() {
    if (pool == nullptr) return;
    loop.run(pool->close());
    pool.reset();
  }
  void reopen() {
    close();
    open();
  }
  // Opens what a death at this moment would leave: a copy of the files as they are.
  void reopen_after_death() {
    const std::string copy = options.directory + "-after";
    std::filesystem::copy(options.directory, copy, std::filesystem::copy_options::recursive);
    close();
    options.directory = copy;
    open();
  }

  Result<LayerRecord> add(LazyLayer& layer) {
    loop.call([&] { source.blobs[layer.blob] = layer.bytes; });
    LayerPlan plan = layer.plan;
    plan.segment = pool->new_segment();
    return loop.run(pool->add_layer(std::move(plan)));
  }

  Result<LayerRecord> stream(const std::vector<NamedFile>& files, LayerRecord record) {
    std::shared_ptr<const Pool::MissingMap> missing;
    loop.call([&] { missing = pool->missing(); });
    auto writer = LayerWriter::open(pool->catalog(), options.directory, pool->new_segment(),
                                    missing, options.chunk_bytes, {});
    if (!writer.ok()) return std::move(writer).error();
    TRY(write_files(**writer, files));
    loop.call([&] {
      for (const auto& [segment, piece] : (*writer)->filled()) pool->mark_present(segment, piece);
    });
    TRY(plan, (*writer)->finish(std::move(record)));
    return loop.run(pool->add_layer(std::move(plan)));
  }
  static LayerRecord record_of(const std::string& name) {
    return {sha256(as_bytes(name)), sha256(as_bytes("diff " + name)), "tar", 1000, 0, kZeroSegment};
  }

  Result<void> ensure(SegmentId segment, ByteRange range, Priority priority = Priority::kOnDemand) {
    return loop.run(pool->ensure(segment, range, priority));
  }
  bool present(SegmentId segment, ByteRange range) {
    bool answer = false;
    loop.call([&] { answer = pool->present(segment, range); });
    return answer;
  }
  uint64_t present_bytes() {
    uint64_t bytes = 0;
    loop.call([&] {
      for (const auto& one : pool->segments()) bytes += one->present_bytes();
    });
    return bytes;
  }
  CheckReport check(bool repair = false) {
    auto report = loop.run(pool->check(repair, [](uint64_t, uint64_t) {}));
    EXPECT_TRUE(report.ok());
    return report.ok() ? *report : CheckReport();
  }
  // What a reader of the layer's file `path` (top level) would see, or nullopt when a byte is not
  // present.
  std::optional<std::string> read_file(Digest layer, const std::string& path) {
    auto placed = loop.run(pool->load_layer(layer));
    if (!placed.ok()) return std::nullopt;
    for (const DirEntry& child : placed->index->inodes[kRootInode].children) {
      if (child.name != path) continue;
      const Inode& inode = placed->index->inodes[child.inode];
      std::string text(inode.size, '\0');
      for (uint32_t i = inode.first_extent; i < inode.first_extent + inode.extent_count; ++i) {
        const Extent& extent = placed->index->extents[i];
        const Slot slot = (*placed->slots)[i];
        if (!present(slot.segment, {slot.offset, extent.bytes})) return std::nullopt;
        const UniqueFd fd(
            ::open(Segment::data_path(segments(), slot.segment).c_str(), O_RDONLY | O_CLOEXEC));
        EXPECT_EQ(::pread(fd.get(), text.data() + extent.file_offset, extent.bytes,
                          static_cast<off_t>(slot.offset)),
                  static_cast<ssize_t>(extent.bytes));
      }
      return text;
    }
    return std::nullopt;
  }
  std::string segments() const { return options.directory + "/segments"; }
  std::string layers() const { return options.directory + "/layers"; }
  static std::vector<std::string> names_in(const std::string& directory) {
    std::vector<std::string> names;
    for (const auto& file : std::filesystem::directory_iterator(directory))
      names.push_back(file.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
  size_t reads() {
    size_t count = 0;
    loop.call([&] { count = source.reads.size(); });
    return count;
  }

  TempDir dir;
  UniqueFd null_fd{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  Log log{null_fd.get()};
  LoopThread loop;
  Workers workers;
  FakeSource source{loop.ring()};
  PoolOptions options = [] {
    PoolOptions made;
    made.min_free_bytes = 0;
    return made;
  }();
  std::unique_ptr<Pool> pool;
};

}  // namespace dedup::test
