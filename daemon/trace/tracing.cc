#include "trace/tracing.h"

namespace dedup {
namespace {

Whiteouts whiteouts_of(const ChainRecord& chain) {
  return chain.keep_whiteouts ? Whiteouts::kKeep : Whiteouts::kApply;
}

}  // namespace

Tracing::Tracing(Ring& ring, Workers& workers, Log& log, Pool& pool, Locations& locations,
                 const TracingOptions& options)
    : x_prefetch_enabled(options.prefetch_enabled),
      x_files(options.directory, log),
      x_recordings(ring, workers, log, pool, x_files, options.recording),
      x_prefetcher(ring, log, pool, options.prefetch),
      x_warmup(ring, workers, log, pool, locations, x_files, x_prefetcher, options.warmup) {
  pool.on_fetched([this](const FetchRecord& record) {
    x_recordings.fetched(record);
    x_prefetcher.fetched(record);
  });
}

ImageEvents Tracing::image_events() {
  ImageEvents events;
  events.preparing = [this](const ResolvedImage& image) {
    x_recordings.preparing(traced_image(image));
    if (x_prefetch_enabled) x_warmup.preparing(image);
  };
  if (!x_prefetch_enabled) return events;
  events.layer_ready = [this](const ResolvedImage& image, const Digest& layer) {
    x_warmup.layer_ready(image, layer);
  };
  events.prepared = [this](const ResolvedImage& image) { x_warmup.prepared(image); };
  events.removed = [this] { x_warmup.removed(); };
  return events;
}

void Tracing::watch_mounts(ChainOptions& chains) {
  chains.on_mounted = [this](const ChainRecord& chain, const std::string& mountpoint) {
    x_recordings.mounted(chain.layers, whiteouts_of(chain), mountpoint);
  };
  chains.on_unmounted = [this](const ChainRecord& chain) {
    x_recordings.unmounted(chain.layers, whiteouts_of(chain));
    x_warmup.unused(chain.layers);
  };
  if (!x_prefetch_enabled) return;
  chains.on_used = [this](const ChainRecord& chain) {
    x_prefetcher.used(chain.segments);
    x_warmup.used(chain.layers);
  };
  chains.on_idle = [this](const ChainRecord& chain) {
    x_prefetcher.unused(chain.segments);
    x_warmup.unused(chain.layers);
  };
}

void Tracing::landmark(const LayerRecord& layer, ByteRange blob) {
  if (x_prefetch_enabled) x_warmup.landmark(layer, blob);
}

void Tracing::stop() {
  x_recordings.stop();
  x_prefetcher.stop();
}

Task<void> Tracing::close() {
  // Not for x_warmup: it may wait for a registry that hangs, and nothing it does needs an end.
  co_await x_prefetcher.close();
  co_await x_recordings.close();
}

}  // namespace dedup
