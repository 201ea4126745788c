// A plain layer's way: tar stream to entries and data, and on to extents and their digests.
#include <benchmark/benchmark.h>

#include "bench/micro/sample_layer.h"
#include "format/extent_hasher.h"
#include "format/layer_builder.h"
#include "format/tar_reader.h"

namespace dedup::bench {
namespace {

class Counter final : public TarSink {
 public:
  Result<void> on_entry(const Entry&) override { return ++x_entries, Result<void>(); }
  Result<void> on_data(uint64_t, std::span<const std::byte>) override { return {}; }
  Result<void> on_entry_end() override { return {}; }
  size_t entries() const { return x_entries; }

 private:
  size_t x_entries = 0;
};

// As the ingest of a plain layer, without its files.
class Indexer final : public TarSink {
 public:
  Result<void> on_entry(const Entry& entry) override {
    ++x_entries;
    x_hasher.begin(entry.size);
    return x_builder.add(entry);
  }
  Result<void> on_data(uint64_t file_offset, std::span<const std::byte> bytes) override {
    return x_hasher.data(file_offset, bytes);
  }
  Result<void> on_entry_end() override { return x_hasher.end(); }
  size_t entries() const { return x_entries; }

 private:
  LayerBuilder x_builder;
  ExtentHasher x_hasher{kDefaultChunkBytes,
                        [this](uint64_t file_offset, auto bytes, Digest digest) {
                          return x_builder.add_extent({digest, file_offset, bytes.size()}, {});
                        }};
  size_t x_entries = 0;
};

template <typename Sink>
void tar(benchmark::State& state) {
  constexpr size_t kPieceBytes = 64 << 10;
  const std::span<const std::byte> stream = as_bytes(sample_tar());
  for (auto _ : state) {
    Sink sink;
    TarReader reader(sink);
    for (size_t at = 0; at < stream.size(); at += kPieceBytes)
      must(reader.feed(stream.subspan(at, std::min(kPieceBytes, stream.size() - at))));
    if (!reader.finish().ok() || sink.entries() != sample_files().size())
      state.SkipWithError("wrong entries");
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(stream.size()));
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(sample_files().size()));
}
BENCHMARK_TEMPLATE(tar, Counter)->Name("tar_parse")->Unit(benchmark::kMillisecond);
BENCHMARK_TEMPLATE(tar, Indexer)->Name("tar_index")->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace dedup::bench
