// The pool's index of chunks: is this one there, and where. Asked once per distinct chunk of every
// layer that is committed.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <map>
#include <random>

#include "bench/micro/sample_layer.h"
#include "pool/catalog.h"
#include "unit/format/tree_maker.h"

namespace dedup::bench {
namespace {

constexpr uint64_t kChunkBytes = 4096;

std::vector<Digest> digests(size_t count, unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<Digest> made(count);
  for (Digest& digest : made)
    for (size_t at = 0; at < digest.bytes.size(); at += 8) {
      const uint64_t word = random();
      std::memcpy(&digest.bytes[at], &word, 8);
    }
  return made;
}

// A catalogue of so many chunks, in layers of at most 100,000.
struct FilledCatalog {
  explicit FilledCatalog(size_t count) : present(digests(count, 1)) {
    catalog = must(Catalog::open(directory.path() + "/index.db"));
    constexpr size_t kLayerChunks = 100'000;
    for (size_t first = 0; first < count; first += kLayerChunks)
      add_layer(first, std::min(count - first, kLayerChunks));
  }

  void add_layer(size_t first, size_t count) {
    std::vector<Catalog::ChunkUse> uses;
    for (size_t i = first; i < first + count; ++i)
      uses.push_back({present[i], kChunkBytes, {1, i * kChunkBytes}, 1});
    std::sort(uses.begin(), uses.end(), [](auto& a, auto& b) { return a.digest < b.digest; });
    auto transaction = must(catalog->database().begin());
    if (first == 0) must(catalog->insert_segment({1, {}, 0, present.size() * kChunkBytes}));
    const LayerRecord record{present[first], present[first], "tar", 0, 0, kZeroSegment};
    must(catalog->reference_chunks(must(catalog->insert_layer(record)), uses));
    must(transaction.commit());
  }

  test::TempDir directory;
  std::vector<Digest> present;
  std::unique_ptr<Catalog> catalog;
};

FilledCatalog& catalog_of(size_t count) {
  static std::map<size_t, std::unique_ptr<FilledCatalog>> made;
  auto& catalog = made[count];
  if (!catalog) catalog = std::make_unique<FilledCatalog>(count);
  return *catalog;
}

void find_chunk(benchmark::State& state, bool present) {
  FilledCatalog& filled = catalog_of(static_cast<size_t>(state.range(0)));
  // In no order: a page of the index is rarely the one of the question before.
  std::vector<Digest> asked = present ? filled.present : digests(filled.present.size(), 2);
  size_t next = 0;
  for (auto _ : state) {
    const auto found = filled.catalog->find_chunk(asked[next], kChunkBytes);
    if (!found.ok() || found->has_value() != present) state.SkipWithError("wrong answer");
    if (++next == asked.size()) next = 0;
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK_CAPTURE(find_chunk, present, true)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK_CAPTURE(find_chunk, absent, false)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);

}  // namespace
}  // namespace dedup::bench
