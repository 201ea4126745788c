// How long an eStargz layer takes from the stored bytes of its table of contents to its row in the
// catalogue: every step by the daemon's own functions, into an empty pool in DIRECTORY, RUNS times.
// Prints one JSON object per run, milliseconds as [wall, CPU]; not a test.
//   toc_rate BLOB DIRECTORY [RUNS]
#include <fcntl.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <utility>

#include "format/estargz.h"
#include "format/estargz_json.h"
#include "format/layer_index_file.h"
#include "pool/files.h"
#include "pool/layer_commit.h"

namespace dedup {
namespace {

double milliseconds(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return double(now.tv_sec) * 1e3 + double(now.tv_nsec) / 1e6;
}

// Wall and CPU time, the latter for machines that others use, too.
struct Milliseconds {
  double wall = milliseconds(CLOCK_MONOTONIC);
  double cpu = milliseconds(CLOCK_THREAD_CPUTIME_ID);
};

class Stopwatch {
 public:
  // Prints what passed since the last call.
  void lap(const char* stage) {
    const Milliseconds now;
    std::printf("\"%s\": [%.1f, %.1f], ", stage, now.wall - x_last.wall, now.cpu - x_last.cpu);
    x_last = Milliseconds();
  }

 private:
  Milliseconds x_last;
};

struct StoredToc {
  EstargzFooter footer;
  uint64_t blob_bytes = 0;
  Bytes bytes;
};

Result<StoredToc> stored_toc(const std::string& path) {
  TRY(fd, open_file(path, O_RDONLY));
  StoredToc stored;
  TRY(blob_bytes, file_size(fd.get(), path));
  stored.blob_bytes = blob_bytes;
  if (blob_bytes < kEstargzFooterBytes) return make_error(Errc::kInvalid, path + " is too short");
  Bytes tail(kEstargzFooterBytes);
  TRY(read_exactly(fd.get(), tail, blob_bytes - tail.size(), path));
  TRY(footer, parse_estargz_footer(tail, blob_bytes));
  if (!footer) return make_error(Errc::kInvalid, path + " is no eStargz layer");
  stored.footer = *footer;
  stored.bytes.resize(blob_bytes - footer->footer_bytes - footer->toc_offset);
  TRY(read_exactly(fd.get(), stored.bytes, footer->toc_offset, path));
  return stored;
}

Result<void> measure(const StoredToc& stored, const std::string& directory) {
  const LayerLimits limits;
  std::filesystem::remove_all(directory);
  TRY(make_directories(directory + "/segments"));
  TRY(make_directories(directory + "/layers"));
  TRY(catalog, Catalog::open(directory + "/index.db"));

  std::printf("{");
  const Milliseconds begin;
  Stopwatch watch;
  TRY(json, extract_estargz_toc(stored.bytes, std::nullopt, limits));
  watch.lap("inflate");
  const Digest digest = sha256(json);
  watch.lap("sha256");
  TRY(layer, parse_estargz_toc(json, stored.footer, kDefaultChunkBytes, limits));
  watch.lap("parse");
  LayerPlan plan;
  plan.record = {digest, digest, "estargz", stored.blob_bytes, 0, kZeroSegment};
  plan.index = std::move(layer.index);
  plan.segment = catalog->next_segment();
  TRY(committed, commit_layer(*catalog, directory, std::move(plan)));
  watch.lap("commit");
  TRY(segment, Segment::open(directory + "/segments", committed.record.segment, -1));
  watch.lap("open");
  const Milliseconds end;
  std::printf("\"whole\": [%.1f, %.1f], ", end.wall - begin.wall, end.cpu - begin.cpu);

  // Parts of the above, once more alone.
  watch = Stopwatch();
  TRY(read_toc_json(json, [](TocEntry&) { return Result<void>(); }));
  watch.lap("json_alone");
  const size_t encoded =
      encode_layer_index(*committed.placed.index, *committed.placed.slots).size();
  watch.lap("encode_alone");
  std::printf("\"toc_bytes\": %zu, \"index_bytes\": %zu, \"extents\": %zu}\n", json.size(), encoded,
              committed.placed.index->extents.size());
  return {};
}

Result<void> run(const char* blob, const std::string& directory, int runs) {
  TRY(stored, stored_toc(blob));
  for (int i = 0; i < runs; ++i) TRY(measure(stored, directory));
  std::filesystem::remove_all(directory);
  return {};
}

}  // namespace
}  // namespace dedup

int main(int argc, char** argv) {
  if (argc < 3) return 64;
  const auto done = dedup::run(argv[1], std::string(argv[2]) + "/toc-rate-pool",
                               argc > 3 ? std::atoi(argv[3]) : 1);
  if (done.ok()) return 0;
  std::fprintf(stderr, "toc_rate: %s\n", done.error().to_string().c_str());
  return 1;
}
