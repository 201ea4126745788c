#include "image/layers.h"

#include <algorithm>

#include "format/estargz.h"
#include "image/import_directory.h"

namespace dedup {
namespace {

// One read is to bring footer and table of contents: a table takes about 0.65 % of its blob.
uint64_t tail_bytes_of(uint64_t blob_bytes) {
  constexpr uint64_t kMinBytes = 64u << 10;
  constexpr uint64_t kMaxBytes = 2u << 20;
  return std::min(blob_bytes, std::clamp(blob_bytes / 128, kMinBytes, kMaxBytes));
}

std::optional<Digest> toc_digest_of(const Descriptor& layer) {
  const auto found = layer.annotations.find(std::string(kTocDigestAnnotation));
  if (found == layer.annotations.end()) return std::nullopt;
  auto digest = Digest::parse(found->second);
  return digest.ok() ? std::optional(*digest) : std::nullopt;
}

}  // namespace

Layers::Layers(Ring& ring, Workers& workers, Log& log, Pool& pool, ImageStore& store,
               Locations& locations, LayerOptions options)
    : x_ring(ring),
      x_workers(workers),
      x_log(log),
      x_pool(pool),
      x_store(store),
      x_locations(locations),
      x_options(options),
      x_streams(ring, options.max_streams) {}

Result<void> Layers::load_locations() {
  TRY(known, x_store.locations());
  for (const auto& [blob, location] : known) {
    auto reference = Reference::parse(location);
    if (reference.ok())
      x_locations.add(blob, *reference);
    else
      x_log.warn("a stored location is not a reference", {{"location", location}});
  }
  return {};
}

Task<Result<PreparedLayer>> Layers::prepare(Reference reference, Descriptor layer, Digest diff_id,
                                            Progress progress) {
  auto& pending = x_pending[layer.digest];
  if (pending != nullptr) {
    auto shared = pending;
    co_return co_await shared->wait();
  }
  auto mine = std::make_shared<Pending>(x_ring);
  pending = mine;
  const Digest digest = layer.digest;
  auto outcome =
      co_await prepare_once(std::move(reference), std::move(layer), diff_id, std::move(progress));
  if (!outcome.ok()) outcome = std::move(outcome).error().with("layer " + digest.to_string());
  x_pending.erase(digest);
  mine->set(outcome);
  co_return outcome;
}

Task<Result<PreparedLayer>> Layers::prepare_once(Reference reference, Descriptor layer,
                                                 Digest diff_id, Progress progress) {
  const std::string location = reference.location();
  x_locations.add(layer.digest, reference);
  CO_TRY(known, co_await x_pool.find_layer(layer.digest));
  if (known) {
    CO_TRY(fine, co_await usable(*known));
    if (fine) {
      CO_TRY(co_await x_workers.run(Priority::kOnDemand,
                                    [&] { return x_store.put_location(layer.digest, location); }));
      co_return PreparedLayer{*known, known->format == "estargz"};
    }
    x_log.warn("layer has damaged chunks, reading it again", {{"layer", layer.digest.to_string()}});
  }
  PreparedLayer prepared;
  std::optional<LayerRecord> lazy;
  if (const auto toc_digest = toc_digest_of(layer); toc_digest && !known) {
    CO_TRY(record, co_await prepare_estargz(layer, diff_id, *toc_digest));
    lazy = std::move(record);
  }
  if (lazy) {
    prepared = {*lazy, true};
  } else {
    CO_TRY(record, co_await prepare_stream(layer, diff_id, std::move(progress)));
    prepared = {std::move(record), false};
  }
  CO_TRY(co_await x_workers.run(Priority::kOnDemand,
                                [&] { return x_store.put_location(layer.digest, location); }));
  co_return prepared;
}

// A layer with missing pieces that nothing but a streaming pass can bring has to be read again.
Task<Result<bool>> Layers::usable(LayerRecord record) {
  const auto own = x_pool.segment(record.segment);
  if (record.format == "estargz" || record.segment == kZeroSegment ||
      (own != nullptr && own->complete()))
    co_return true;
  CO_TRY(placed, co_await x_pool.load_layer(record.digest));
  co_return x_pool.can_fill(placed);
}

// nullopt: not an eStargz blob after all.
Task<Result<std::optional<LayerRecord>>> Layers::prepare_estargz(Descriptor layer, Digest diff_id,
                                                                 Digest toc_digest) {
  if (layer.size < kEstargzFooterBytes) co_return std::optional<LayerRecord>();
  const uint64_t tail_bytes = tail_bytes_of(layer.size);
  const ByteRange tail_range{layer.size - tail_bytes, tail_bytes};
  CO_TRY(tail,
         co_await x_locations.read(layer.digest, layer.size, tail_range, Priority::kOnDemand));
  CO_TRY(footer, parse_estargz_footer(tail, layer.size));
  if (!footer) co_return std::optional<LayerRecord>();

  const ByteRange toc_range{footer->toc_offset,
                            layer.size - footer->footer_bytes - footer->toc_offset};
  if (toc_range.length > x_options.limits.max_toc_bytes) {
    co_return make_error(Errc::kInvalid,
                         "its table of contents is larger than limits.max_toc_bytes");
  }
  Bytes stored;
  if (toc_range.offset >= tail_range.offset) {
    const auto begin = tail.begin() + static_cast<ptrdiff_t>(toc_range.offset - tail_range.offset);
    stored.assign(begin, begin + static_cast<ptrdiff_t>(toc_range.length));
  } else {
    // Only what the tail has not brought yet.
    const ByteRange rest{toc_range.offset, tail_range.offset - toc_range.offset};
    CO_TRY(head, co_await x_locations.read(layer.digest, layer.size, rest, Priority::kOnDemand));
    stored = std::move(head);
    stored.insert(stored.end(), tail.begin(),
                  tail.end() - static_cast<ptrdiff_t>(footer->footer_bytes));
  }
  CO_TRY(parsed, co_await x_workers.run(Priority::kOnDemand, [&]() -> Result<EstargzLayer> {
    TRY(json, extract_estargz_toc(stored, toc_digest, x_options.limits));
    Bytes().swap(stored);
    return parse_estargz_toc(json, *footer, x_pool.options().chunk_bytes, x_options.limits);
  }));
  LayerPlan plan;
  plan.record = {layer.digest, diff_id, "estargz", layer.size, 0, kZeroSegment};
  plan.index = std::move(parsed.index);
  plan.segment = x_pool.new_segment();
  CO_TRY(record, co_await x_pool.add_layer(std::move(plan)));
  if (x_options.on_landmark && !parsed.prefetch.empty())
    x_options.on_landmark(record, parsed.prefetch);
  co_return std::optional(std::move(record));
}

Task<Result<LayerRecord>> Layers::prepare_stream(Descriptor layer, Digest diff_id,
                                                 Progress progress) {
  const auto permit = co_await x_streams.acquire(1, Priority::kOnDemand);
  CO_TRY(stream, co_await x_locations.open_stream(layer.digest, layer.size, Priority::kPrefetch));
  IngestRequest request{layer, diff_id, x_options.limits, std::move(progress)};
  co_return co_await ingest_layer(x_ring, x_workers, x_pool, std::move(stream), std::move(request));
}

Task<Result<LayerRecord>> Layers::import(std::string directory) {
  auto missing = x_pool.missing();
  const SegmentId segment = x_pool.new_segment();
  CO_TRY(plan, co_await x_workers.run(Priority::kBackground, [&]() -> Result<LayerPlan> {
    const uint32_t chunk_bytes = x_pool.options().chunk_bytes;
    TRY(writer, LayerWriter::open(x_pool.catalog(), x_pool.options().directory, segment, missing,
                                  chunk_bytes, x_options.limits));
    TRY(import_directory(directory, *writer, chunk_bytes));
    LayerRecord record;
    record.format = "directory";
    return writer->finish(std::move(record));
  }));
  co_return co_await x_pool.add_layer(std::move(plan));
}

}  // namespace dedup
