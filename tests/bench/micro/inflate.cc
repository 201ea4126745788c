// Decompression of a whole layer stream, in the pieces the network brings.
#include "format/inflate.h"

#include <benchmark/benchmark.h>
#include <zstd.h>

#include "bench/micro/sample_layer.h"

namespace dedup::bench {
namespace {

std::string zstd(const std::string& plain) {
  std::string out(ZSTD_compressBound(plain.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), 3));
  return out;
}

void inflate(benchmark::State& state, Codec codec) {
  constexpr size_t kPieceBytes = 64 << 10;
  const std::string& plain = sample_tar();
  const std::string stored = codec == Codec::kGzip ? test::gzip(plain) : zstd(plain);
  const std::span<const std::byte> blob = as_bytes(stored);
  for (auto _ : state) {
    Inflater inflater(codec, UINT64_MAX);
    size_t bytes = 0;
    const Inflater::Sink count = [&bytes](std::span<const std::byte> decoded) {
      bytes += decoded.size();
      return Result<void>();
    };
    for (size_t at = 0; at < blob.size(); at += kPieceBytes)
      must(inflater.feed(blob.subspan(at, std::min(kPieceBytes, blob.size() - at)), count));
    if (!inflater.finish().ok() || bytes != plain.size()) state.SkipWithError("wrong length");
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(plain.size()));
}
BENCHMARK_CAPTURE(inflate, gzip, Codec::kGzip)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(inflate, zstd, Codec::kZstd)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace dedup::bench
