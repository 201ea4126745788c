#include "image/ingest.h"

#include "format/extent_hasher.h"
#include "format/inflate.h"
#include "format/tar_reader.h"
#include "io/sync.h"
#include "pool/layer_writer.h"

namespace dedup {
namespace {

constexpr size_t kMagicBytes = 4;
constexpr size_t kFeedBytes =
    16u << 10;  // compressed bytes per step: deflate expands by at most 1032
constexpr size_t kBlockBytes = 2u << 20;  // uncompressed bytes handed from stage to stage
constexpr size_t kBlocksInFlight = 2;

// Second stage: uncompressed layer -> diffID, entries, extents. One job at a time, but hash() of a
// block may run beside feed() of it: each takes about half of the time.
class TarStage final : public TarSink {
 public:
  TarStage(LayerWriter& writer, uint32_t chunk_bytes, LayerLimits limits)
      : x_writer(writer),
        x_hasher(chunk_bytes,
                 [&writer](uint64_t offset, std::span<const std::byte> bytes, Digest identity) {
                   return writer.add_extent(offset, bytes, identity);
                 }),
        x_tar(*this, limits) {}

  void hash(std::span<const std::byte> block) { x_hash.update(block); }
  Result<void> feed(std::span<const std::byte> block) { return x_tar.feed(block); }
  Result<Digest> finish() {
    TRY(x_tar.finish());
    return x_hash.finish();
  }

  Result<void> on_entry(const Entry& entry) override {
    if (entry.type == EntryType::kRegular) x_hasher.begin(entry.size);
    x_in_file = entry.type == EntryType::kRegular;
    return x_writer.add(entry);
  }
  Result<void> on_data(uint64_t file_offset, std::span<const std::byte> bytes) override {
    return x_hasher.data(file_offset, bytes);
  }
  Result<void> on_entry_end() override { return x_in_file ? x_hasher.end() : Result<void>(); }

 private:
  LayerWriter& x_writer;
  Sha256 x_hash;
  ExtentHasher x_hasher;
  TarReader x_tar;
  bool x_in_file = false;
};

// First stage: compressed bytes -> layer digest, uncompressed blocks.
class InflateStage {
 public:
  explicit InflateStage(uint64_t max_output_bytes) : x_max_output_bytes(max_output_bytes) {}

  // Consumes from `piece` until a block is full or the piece is empty; returns the block.
  Result<Bytes> step(std::span<const std::byte>& piece) {
    if (!x_inflater) x_inflater.emplace(detect_codec(piece), x_max_output_bytes);
    Bytes block;
    block.reserve(kBlockBytes);
    while (!piece.empty() && block.size() < kBlockBytes) {
      const auto slice = piece.first(std::min(piece.size(), kFeedBytes));
      x_hash.update(slice);
      TRY(x_inflater->feed(slice, [&block](std::span<const std::byte> bytes) {
        block.insert(block.end(), bytes.begin(), bytes.end());
        return Result<void>();
      }));
      piece = piece.subspan(slice.size());
    }
    return block;
  }
  Result<Digest> finish() {
    if (x_inflater) TRY(x_inflater->finish());
    return x_hash.finish();
  }

 private:
  uint64_t x_max_output_bytes;
  Sha256 x_hash;
  std::optional<Inflater> x_inflater;
};

class Ingest {
 public:
  Ingest(Ring& ring, Workers& workers, Pool& pool, std::unique_ptr<BlobStream> stream,
         IngestRequest request)
      : x_workers(workers),
        x_pool(pool),
        x_stream(std::move(stream)),
        x_request(std::move(request)),
        x_inflate(x_request.limits.max_uncompressed_bytes),
        x_blocks(ring, kBlocksInFlight) {}

  Task<Result<LayerRecord>> run() {
    auto missing = x_pool.missing();
    const SegmentId segment = x_pool.new_segment();
    CO_TRY(writer, co_await x_workers.run(Priority::kPrefetch, [&] {
      const PoolOptions& options = x_pool.options();
      return LayerWriter::open(x_pool.catalog(), options.directory, segment, missing,
                               options.chunk_bytes, x_request.limits);
    }));
    x_writer = std::move(writer);
    x_tar.emplace(*x_writer, x_pool.options().chunk_bytes, x_request.limits);
    TaskScope scope;
    scope.spawn(consume());
    auto layer_digest = co_await produce();
    x_blocks.close();
    co_await scope.join();
    // The stage that failed first stopped the other one; a cause upstream explains an end
    // downstream.
    if (!layer_digest.ok()) co_return std::move(layer_digest).error();
    if (!x_diff_id.ok()) co_return std::move(x_diff_id).error();
    CO_TRY(check_digests(*layer_digest, *x_diff_id));
    co_return co_await commit();
  }

 private:
  Task<Result<Digest>> produce() {
    uint64_t done_bytes = 0;
    for (;;) {
      CO_TRY(received, co_await x_stream->read_some());
      if (received.empty()) break;
      // The codec is told by the first bytes of the blob: they must come together.
      while (done_bytes == 0 && received.size() < kMagicBytes) {
        CO_TRY(more, co_await x_stream->read_some());
        if (more.empty()) break;
        received.insert(received.end(), more.begin(), more.end());
      }
      std::span<const std::byte> piece(received);
      while (!piece.empty()) {
        CO_TRY(block, co_await x_workers.run(Priority::kPrefetch,
                                             [this, &piece] { return x_inflate.step(piece); }));
        if (!co_await x_blocks.push(std::move(block))) co_return x_diff_id.error();
      }
      done_bytes += received.size();
      x_request.progress(done_bytes);
    }
    co_return x_inflate.finish();
  }

  Task<void> consume() {
    while (auto block = co_await x_blocks.pop()) {
      TaskScope hashing;
      hashing.spawn(hash(*block));
      auto outcome = co_await x_workers.run(Priority::kPrefetch,
                                            [this, &block] { return x_tar->feed(*block); });
      co_await hashing.join();
      if (outcome.ok()) continue;
      x_diff_id = std::move(outcome).error();
      x_blocks.close();
      co_return;
    }
    x_diff_id = co_await x_workers.run(Priority::kPrefetch, [this] { return x_tar->finish(); });
  }

  // block: consume()'s, which waits.
  Task<void> hash(std::span<const std::byte> block) {
    co_await x_workers.run(Priority::kPrefetch, [this, &block] { x_tar->hash(block); });
  }

  Result<void> check_digests(const Digest& layer_digest, const Digest& diff_id) const {
    if (layer_digest != x_request.layer.digest) {
      return make_error(Errc::kCorruption, "the registry sent bytes with digest " +
                                               layer_digest.to_string() + " instead");
    }
    if (diff_id != x_request.diff_id) {
      return make_error(Errc::kCorruption, "its content has diffID " + diff_id.to_string() +
                                               ", the image's config says " +
                                               x_request.diff_id.to_string());
    }
    return {};
  }

  Task<Result<LayerRecord>> commit() {
    // Filled pieces of other layers are verified by their own digests, so they count whatever
    // becomes of this layer.
    for (const auto& [segment, piece] : x_writer->filled()) x_pool.mark_present(segment, piece);
    CO_TRY(known, co_await x_pool.find_layer(x_request.layer.digest));
    if (known) co_return std::move(*known);
    LayerRecord record;
    record.digest = x_request.layer.digest;
    record.diff_id = x_request.diff_id;
    record.format = "tar";
    record.blob_bytes = x_request.layer.size;
    CO_TRY(plan, co_await x_workers.run(Priority::kPrefetch, [this, &record] {
      return x_writer->finish(std::move(record));
    }));
    co_return co_await x_pool.add_layer(std::move(plan));
  }

  Workers& x_workers;
  Pool& x_pool;
  std::unique_ptr<BlobStream> x_stream;
  IngestRequest x_request;
  InflateStage x_inflate;
  std::unique_ptr<LayerWriter> x_writer;
  std::optional<TarStage> x_tar;
  Channel<Bytes> x_blocks;
  Result<Digest> x_diff_id = make_error(Errc::kCancelled, "not finished");
};

}  // namespace

Task<Result<LayerRecord>> ingest_layer(Ring& ring, Workers& workers, Pool& pool,
                                       std::unique_ptr<BlobStream> stream, IngestRequest request) {
  Ingest ingest(ring, workers, pool, std::move(stream), std::move(request));
  co_return co_await ingest.run();
}

}  // namespace dedup
