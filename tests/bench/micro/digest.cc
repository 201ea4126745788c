// SHA-256, and what every fetched chunk costs: decoding and comparing its digest.
#include "base/digest.h"

#include <benchmark/benchmark.h>

#include "bench/micro/sample_layer.h"
#include "format/inflate.h"

namespace dedup::bench {
namespace {

void count_bytes(benchmark::State& state, size_t bytes) {
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}

void digest(benchmark::State& state) {
  const std::string content = sample_content(static_cast<size_t>(state.range(0)), 1);
  for (auto _ : state) benchmark::DoNotOptimize(sha256(as_bytes(content)));
  count_bytes(state, content.size());
}
BENCHMARK(digest)->Arg(4 << 10)->Arg(64 << 10)->Arg(4 << 20);

void verify_chunk(benchmark::State& state) {
  const std::string content = sample_content(static_cast<size_t>(state.range(0)), 1);
  const std::string stored = test::gzip(content);
  Chunk chunk;
  chunk.blob_bytes = stored.size();
  chunk.bytes = content.size();
  chunk.codec = Codec::kGzip;
  chunk.digest = sha256(as_bytes(content));
  Bytes out(content.size());
  for (auto _ : state) {
    if (!inflate_chunk(chunk, as_bytes(stored), out).ok() || sha256(out) != chunk.digest)
      state.SkipWithError("wrong content");
  }
  count_bytes(state, content.size());
}
BENCHMARK(verify_chunk)->Arg(4 << 10)->Arg(64 << 10)->Arg(4 << 20);

}  // namespace
}  // namespace dedup::bench
