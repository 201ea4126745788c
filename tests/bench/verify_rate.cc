// What decompression and verification alone reach: every chunk of an eStargz blob is decoded and
// its digest compared by the daemon's own functions, from memory to memory, on each of 1 to
// THREADS threads. Prints one JSON object per number of threads; not a test.
//   verify_rate BLOB [THREADS]
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <thread>

#include "base/unique_fd.h"
#include "format/estargz.h"
#include "format/inflate.h"

namespace dedup {
namespace {

using Blob = std::span<const std::byte>;

Result<Blob> mapped(const char* path) {
  const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0) return errno_error(errno, path);
  const auto bytes = static_cast<size_t>(status.st_size);
  void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd.get(), 0);
  if (memory == MAP_FAILED) return errno_error(errno, path);
  return Blob{static_cast<const std::byte*>(memory), bytes};
}

Result<std::vector<Chunk>> chunks_of(Blob blob) {
  const LayerLimits limits;
  TRY(footer, parse_estargz_footer(blob.last(kEstargzFooterBytes), blob.size()));
  if (!footer) return make_error(Errc::kInvalid, "the blob is no eStargz layer");
  const Blob stored =
      blob.subspan(footer->toc_offset, blob.size() - footer->footer_bytes - footer->toc_offset);
  TRY(toc, extract_estargz_toc(stored, std::nullopt, limits));
  TRY(layer, parse_estargz_toc(toc, *footer, kDefaultChunkBytes, limits));
  return std::move(layer.index.chunks);
}

Result<void> verify(const Chunk& chunk, Blob blob, Bytes& content) {
  content.resize(chunk.bytes);
  TRY(inflate_chunk(chunk, blob.subspan(chunk.blob_offset, chunk.blob_bytes), content));
  if (sha256(content) == chunk.digest) return {};
  return make_error(Errc::kCorruption, "chunk " + chunk.digest.to_string());
}

// CPU seconds of this process.
double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return double(now.tv_sec) + double(now.tv_nsec) / 1e9;
}

// Seconds for all chunks; negative when one is bad.
double measure(std::span<const Chunk> chunks, Blob blob, unsigned thread_count) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> bad = false;
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < thread_count; ++i) {
    threads.emplace_back([&] {
      Bytes content;
      for (size_t c; (c = next++) < chunks.size();)
        if (!verify(chunks[c], blob, content).ok()) bad = true;
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  return bad ? -1 : took.count();
}

int run(const char* path, unsigned max_threads) {
  const auto blob = mapped(path);
  const auto chunks = blob.ok() ? chunks_of(*blob) : Result<std::vector<Chunk>>(blob.error());
  if (!chunks.ok()) {
    std::fprintf(stderr, "verify_rate: %s\n", chunks.error().to_string().c_str());
    return 1;
  }
  uint64_t bytes = 0;
  for (const Chunk& chunk : *chunks) bytes += chunk.bytes;
  for (unsigned threads = 1; threads <= max_threads; ++threads) {
    const double cpu_before = cpu_seconds();
    const double seconds = measure(*chunks, *blob, threads);
    if (seconds < 0) return 1;
    std::printf("{\"threads\": %u, \"bytes\": %llu, \"seconds\": %.3f, \"cpu_seconds\": %.2f}\n",
                threads, static_cast<unsigned long long>(bytes), seconds,
                cpu_seconds() - cpu_before);
  }
  return 0;
}

}  // namespace
}  // namespace dedup

int main(int argc, char** argv) {
  if (argc < 2) return 64;
  return dedup::run(argv[1], argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1);
}
