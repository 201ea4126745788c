// A lazy layer's way from its stored table of contents to the mountable image: parse, commit to an
// empty pool, merge and write EROFS. Items are files.
#include <benchmark/benchmark.h>

#include "bench/micro/sample_layer.h"
#include "format/erofs_writer.h"
#include "format/estargz.h"
#include "format/estargz_json.h"
#include "pool/files.h"
#include "pool/layer_commit.h"
#include "unit/format/tree_maker.h"

namespace dedup::bench {
namespace {

constexpr int64_t kFiles = 20000;

EstargzLayer layer_of(std::span<const std::byte> json) {
  const EstargzFooter footer{many_files_blob().toc_offset, kEstargzFooterBytes};
  return must(parse_estargz_toc(json, footer, kDefaultChunkBytes, {}));
}

void toc_inflate(benchmark::State& state) {
  const test::EstargzBlob& made = many_files_blob();
  const auto stored = as_bytes(made.blob)
                          .subspan(made.toc_offset)
                          .first(made.blob.size() - made.toc_offset - kEstargzFooterBytes);
  for (auto _ : state) benchmark::DoNotOptimize(must(extract_estargz_toc(stored, {}, {})));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(made.toc.size()));
}
BENCHMARK(toc_inflate)->Unit(benchmark::kMillisecond);

void toc_json(benchmark::State& state) {
  const std::string& json = many_files_blob().toc;
  for (auto _ : state)
    must(read_toc_json(as_bytes(json), [](TocEntry&) { return Result<void>(); }));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(json.size()));
  state.SetItemsProcessed(state.iterations() * kFiles);
}
BENCHMARK(toc_json)->Unit(benchmark::kMillisecond);

void toc_parse(benchmark::State& state) {
  const std::string& json = many_files_blob().toc;
  for (auto _ : state) benchmark::DoNotOptimize(layer_of(as_bytes(json)));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(json.size()));
  state.SetItemsProcessed(state.iterations() * kFiles);
}
BENCHMARK(toc_parse)->Unit(benchmark::kMillisecond);

// Real files and fsyncs: the disk is part of it.
void layer_commit(benchmark::State& state) {
  const test::TempDir directory;
  const std::string& json = many_files_blob().toc;
  for (int round = 0; state.KeepRunning(); ++round) {
    state.PauseTiming();
    const std::string pool = directory.path() + "/" + std::to_string(round);
    must(make_directories(pool + "/segments"));
    must(make_directories(pool + "/layers"));
    auto catalog = must(Catalog::open(pool + "/index.db"));
    LayerPlan plan;
    const Digest digest = sha256(as_bytes(json));
    plan.record = {digest, digest, "estargz", many_files_blob().blob.size(), 0, kZeroSegment};
    plan.index = layer_of(as_bytes(json)).index;
    plan.segment = catalog->next_segment();
    state.ResumeTiming();
    benchmark::DoNotOptimize(must(commit_layer(*catalog, pool, std::move(plan))));
  }
  state.SetItemsProcessed(state.iterations() * kFiles);
}
BENCHMARK(layer_commit)->Unit(benchmark::kMillisecond)->UseRealTime();

void erofs_write(benchmark::State& state) {
  auto index = std::make_shared<LayerIndex>(layer_of(as_bytes(many_files_blob().toc)).index);
  auto slots = std::make_shared<std::vector<Slot>>();
  for (size_t i = 0; i < index->extents.size(); ++i) slots->push_back({1, i * kPoolBlockBytes});
  const ImageTree tree = must(merge_layers({{index, slots}}, Whiteouts::kApply));
  ErofsOptions options;
  options.segment_bytes = [&](uint32_t) {
    return slots->size() * kPoolBlockBytes + kDefaultChunkBytes;
  };
  uint64_t bytes = 0;
  for (auto _ : state)
    bytes += must(write_erofs(tree, options, [](auto) { return Result<void>(); })).bytes;
  state.SetBytesProcessed(static_cast<int64_t>(bytes));
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(tree.nodes.size()));
}
BENCHMARK(erofs_write)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace dedup::bench
