// What decompression and verification alone reach, by the daemon's own functions; not a test.
//   verify_rate BLOB [THREADS]
// Every chunk of an eStargz blob is decoded and its digest compared, from memory to memory, on each
// of 1 to THREADS threads. Prints one JSON object per number of threads.
//   verify_rate --parts DIRECTORY BLOB...
// What whole layers of any codec cost at least, each part alone, on one thread: to decode them, to
// hash as many bytes, and to write them to a file in DIRECTORY. Prints the sums as one JSON object.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

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

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
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
  return bad ? -1 : seconds_since(begin);
}

struct Parts {
  uint64_t blob_bytes = 0;
  uint64_t bytes = 0;
  double inflate_cpu_s = 0;
  double sha256_cpu_s = 0;
  double write_cpu_s = 0;
  double write_s = 0;  // until all is on the disk
};

// Blocks as the streaming pass hands them on.
constexpr size_t kBlockBytes = 2u << 20;

Result<void> add_parts(Blob blob, const UniqueFd& file, Parts& parts) {
  double before = cpu_seconds();
  const auto lap = [&before](double& part) {
    const double now = cpu_seconds();
    part += now - std::exchange(before, now);
  };
  const auto flush = [&](Bytes& block) -> Result<void> {
    lap(parts.inflate_cpu_s);
    static_cast<void>(sha256(block));
    lap(parts.sha256_cpu_s);
    const auto begin = std::chrono::steady_clock::now();
    if (::write(file.get(), block.data(), block.size()) != static_cast<ssize_t>(block.size()))
      return errno_error(errno, "write");
    parts.write_s += seconds_since(begin);
    lap(parts.write_cpu_s);
    parts.bytes += block.size();
    block.clear();
    return {};
  };
  Inflater inflater(detect_codec(blob), UINT64_MAX);
  Bytes block;
  block.reserve(2 * kBlockBytes);
  TRY(inflater.feed(blob, [&](std::span<const std::byte> bytes) {
    block.insert(block.end(), bytes.begin(), bytes.end());
    return block.size() < kBlockBytes ? Result<void>() : flush(block);
  }));
  TRY(inflater.finish());
  parts.blob_bytes += blob.size();
  return flush(block);
}

int run_parts(const std::string& directory, std::span<char*> paths) {
  const std::string path = directory + "/verify-rate-bytes";
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  ::unlink(path.c_str());
  Parts parts;
  for (const char* const name : paths) {
    const auto blob = mapped(name);
    const auto done = blob.ok() ? add_parts(*blob, file, parts) : Result<void>(blob.error());
    if (done.ok()) continue;
    std::fprintf(stderr, "verify_rate: %s: %s\n", name, done.error().to_string().c_str());
    return 1;
  }
  const auto begin = std::chrono::steady_clock::now();
  if (::fdatasync(file.get()) != 0) return 1;
  parts.write_s += seconds_since(begin);
  std::printf(
      "{\"blob_bytes\": %llu, \"bytes\": %llu, \"inflate_cpu_s\": %.3f, \"sha256_cpu_s\": %.3f, "
      "\"write_cpu_s\": %.3f, \"write_s\": %.3f}\n",
      static_cast<unsigned long long>(parts.blob_bytes),
      static_cast<unsigned long long>(parts.bytes), parts.inflate_cpu_s, parts.sha256_cpu_s,
      parts.write_cpu_s, parts.write_s);
  return 0;
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
  if (argc > 3 && std::string_view(argv[1]) == "--parts")
    return dedup::run_parts(argv[2], std::span(argv + 3, argv + argc));
  if (argc < 2) return 64;
  return dedup::run(argv[1], argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1);
}
