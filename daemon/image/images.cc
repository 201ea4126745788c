#include "image/images.h"

#include <set>

#include "doors/erofs_mount.h"

namespace dedup {
namespace {

constexpr size_t kMaxResolvedImages = 64;

std::string image_holder(const std::string& ref) {
  return "image:" + ref;
}
std::string target_holder(const std::string& target) {
  return "mount:" + target;
}
// Keeps a layer that was prepared ahead until the snapshotter asks for it under its own holder, or
// the daemon restarts.
constexpr std::string_view kHintPrefix = "hint:";
std::string hint_holder(const Digest& layer) {
  return std::string(kHintPrefix) + layer.to_string();
}

constexpr std::chrono::seconds kCollectInterval{60};

}  // namespace

Images::Images(Ring& ring, Workers& workers, Log& log, Pool& pool, ImageStore& store,
               Locations& locations, Layers& layers, Chains& chains, ImageEvents events)
    : x_ring(ring),
      x_workers(workers),
      x_log(log),
      x_pool(pool),
      x_store(store),
      x_locations(locations),
      x_layers(layers),
      x_chains(chains),
      x_events(std::move(events)),
      x_gate(ring, 1) {}

void Images::begin_preparing(const ResolvedImage& image) {
  if (x_preparing[image.manifest_digest]++ == 0 && x_events.preparing) x_events.preparing(image);
}

bool Images::end_preparing(const ResolvedImage& image) {
  const auto layers = x_preparing.find(image.manifest_digest);
  if (--layers->second > 0) return false;
  x_preparing.erase(layers);
  if (x_events.prepared) x_events.prepared(image);
  return true;
}

// While the snapshotter still asks for one layer after the other, and containerd gets the container
// ready. A hint only, as each of its layers was.
Task<void> Images::mount_ahead(std::shared_ptr<const ResolvedImage> image) {
  std::vector<Digest> layers;
  for (const Descriptor& layer : image->manifest.layers) layers.push_back(layer.digest);
  const std::string holder = hint_holder(Chains::id_of(layers, false));
  auto mounted = co_await mount_held(std::move(layers), false, holder, Chains::Purpose::kAhead);
  const auto released = co_await release(holder);
  if (mounted.ok() && released.ok()) co_return;
  // Of a part of the image: the rest is asked for later.
  if (!mounted.ok() && mounted.error().code == Errc::kNotFound) co_return;
  x_log.warn("an image is not mounted ahead",
             {{"image", image->reference.to_string()},
              {"error", mounted.ok() ? released.error() : mounted.error()}});
}

Task<Result<PreparedLayer>> Images::bring_layer(std::shared_ptr<const ResolvedImage> image,
                                                size_t layer, Layers::Progress progress) {
  const Descriptor& wanted = image->manifest.layers[layer];
  auto prepared = co_await x_layers.prepare(image->reference, wanted, image->config.diff_ids[layer],
                                            std::move(progress));
  if (prepared.ok() && x_events.layer_ready) x_events.layer_ready(*image, wanted.digest);
  co_return prepared;
}

Task<Result<ResolvedImage>> Images::look_up(std::string ref) {
  CO_TRY(reference, Reference::parse(ref));
  co_return co_await resolve(std::move(reference), std::nullopt);
}

Task<Result<ResolvedImage>> Images::resolve(Reference reference, std::optional<Digest> manifest) {
  const std::string key = reference.to_string() + "@" + (manifest ? manifest->to_string() : "");
  if (const auto known = x_resolved.find(key); manifest && known != x_resolved.end())
    co_return known->second;
  CO_TRY(image,
         co_await x_locations.source(reference).resolve(reference, manifest, Platform::host()));
  if (x_resolved.size() >= kMaxResolvedImages) x_resolved.clear();
  x_resolved.insert_or_assign(key, image);
  co_return image;
}

// containerd before 2.1 says for each layer only the name of its image. A tag may have moved since
// it was asked last, but what a layer's digest stands for has not.
Task<Result<ResolvedImage>> Images::resolve_for(Reference reference, std::optional<Digest> manifest,
                                                Digest layer) {
  const auto known = x_resolved.find(reference.to_string() + "@");
  if (!manifest && known != x_resolved.end()) {
    for (const Descriptor& one : known->second.manifest.layers) {
      if (one.digest == layer) co_return known->second;
    }
  }
  co_return co_await resolve(std::move(reference), manifest);
}

// From here on no removal can take the layer.
Task<Result<void>> Images::hold(std::string holder, Digest layer) {
  const auto gate = co_await x_gate.acquire(1, Priority::kOnDemand);
  co_return co_await on_worker([&] { return x_store.hold_layer(holder, layer); });
}

Task<Result<ImageSummary>> Images::pull(std::string ref, Progress progress) {
  CO_TRY(reference, Reference::parse(ref));
  const std::string name = reference.to_string();
  CO_TRY(image, co_await resolve(reference, std::nullopt));
  const ImageRecord record{name, image.manifest_digest, [&image] {
                             std::vector<Digest> layers;
                             for (const Descriptor& layer : image.manifest.layers)
                               layers.push_back(layer.digest);
                             return layers;
                           }()};
  const auto shared = std::make_shared<const ResolvedImage>(std::move(image));
  begin_preparing(*shared);
  auto prepared = co_await prepare_all(shared, image_holder(name), std::move(progress));
  end_preparing(*shared);
  CO_TRY(std::move(prepared));
  CO_TRY(co_await on_worker([this, &record] { return x_store.put_image(record); }));
  // A tag that moved gives up the layers of its earlier image.
  CO_TRY(co_await on_worker([this, &record] {
    return x_store.hold_only_layers(image_holder(record.ref), record.layers);
  }));
  CO_TRY(co_await collect_garbage());
  co_return co_await summarise(record);
}

Task<Result<void>> Images::prepare_all(std::shared_ptr<const ResolvedImage> image,
                                       std::string holder, Progress progress) {
  // Layers run side by side; the first error is the answer, but all are awaited: each is usable on
  // its own afterwards.
  struct Shared {
    Result<void> outcome;
  };
  auto shared = std::make_shared<Shared>();
  TaskScope scope;
  auto one = [](Images* self, std::shared_ptr<const ResolvedImage> of, size_t number,
                std::string owner, Progress report, std::shared_ptr<Shared> result) -> Task<void> {
    const Descriptor& layer = of->manifest.layers[number];
    LayerProgress state{layer.digest, LayerProgress::State::kFetching, 0, layer.size};
    report(state);
    auto held = co_await self->hold(std::move(owner), layer.digest);
    Result<PreparedLayer> prepared =
        held.ok() ? Result<PreparedLayer>(PreparedLayer{}) : Result<PreparedLayer>(held.error());
    if (held.ok()) {
      Layers::Progress on_bytes = [report, state](uint64_t done) mutable {
        state.done_bytes = done;
        report(state);
      };
      prepared = co_await self->bring_layer(of, number, std::move(on_bytes));
    }
    if (!prepared.ok()) {
      if (result->outcome.ok()) result->outcome = std::move(prepared).error();
      co_return;
    }
    state.state = LayerProgress::State::kReady;
    state.done_bytes = state.total_bytes;
    report(state);
  };
  std::set<Digest> seen;  // an image may list one layer twice
  for (size_t i = 0; i < image->manifest.layers.size(); ++i) {
    if (!seen.insert(image->manifest.layers[i].digest).second) continue;
    scope.spawn(one(this, image, i, holder, progress, shared));
  }
  co_await scope.join();
  co_return shared->outcome;
}

Task<Result<ImageSummary>> Images::mount(std::string ref, std::string target, Progress progress) {
  CO_TRY(reference, Reference::parse(ref));
  const std::string name = reference.to_string();
  CO_TRY(known, co_await on_worker([&] { return x_store.image(name); }));
  if (!known) {
    CO_TRY(co_await pull(name, std::move(progress)));
    CO_TRY(pulled, co_await on_worker([&] { return x_store.image(name); }));
    if (!pulled) co_return make_error(Errc::kNotFound, name + " was removed while it was pulled");
    known = std::move(pulled);
  }
  CO_TRY(points, co_await on_worker([] { return mount_points(); }));
  if (points.contains(target))
    co_return make_error(Errc::kExists, target + " is a mount point already");
  const std::string holder = target_holder(target);
  auto mountpoint = co_await mount_chain(known->layers, false, holder);
  Result<void> outcome;
  if (mountpoint.ok()) {
    const TargetRecord record{target, name, Chains::id_of(known->layers, false)};
    outcome = co_await on_worker([&]() -> Result<void> {
      TRY(bind_read_only(*mountpoint, record.target));
      return x_store.put_target(record);
    });
  } else {
    outcome = mountpoint.error();
  }
  if (!outcome.ok()) {
    CO_TRY(co_await release(holder));
    co_return std::move(outcome).error();
  }
  co_return co_await summarise(*known);
}

Task<Result<void>> Images::unmount(std::string target) {
  CO_TRY(targets, co_await on_worker([this] { return x_store.targets(); }));
  const bool ours = std::any_of(targets.begin(), targets.end(),
                                [&target](const auto& t) { return t.target == target; });
  if (!ours) co_return make_error(Errc::kNotFound, target + " is not a mount of dedupd");
  auto outcome = co_await on_worker([&] { return dedup::unmount(target); });
  if (!outcome.ok() && outcome.error().code != Errc::kNotFound) co_return outcome;
  CO_TRY(co_await on_worker([&] { return x_store.remove_target(target); }));
  CO_TRY(co_await release(target_holder(target)));
  co_return Result<void>();
}

Task<Result<std::vector<ImageSummary>>> Images::list() {
  CO_TRY(records, co_await on_worker([this] { return x_store.images(); }));
  CO_TRY(targets, co_await on_worker([this] { return x_store.targets(); }));
  std::vector<ImageSummary> summaries;
  for (const ImageRecord& record : records) {
    CO_TRY(summary, co_await summarise(record, targets));
    summaries.push_back(std::move(summary));
  }
  co_return summaries;
}

Task<Result<ImageSummary>> Images::summarise(ImageRecord record) {
  CO_TRY(targets, co_await on_worker([this] { return x_store.targets(); }));
  co_return co_await summarise(std::move(record), targets);
}

Task<Result<ImageSummary>> Images::summarise(ImageRecord record,
                                             std::span<const TargetRecord> targets) {
  ImageSummary summary;
  std::set<std::string> formats;
  for (const Digest& digest : record.layers) {
    CO_TRY(layer, co_await x_pool.find_layer(digest));
    if (!layer) continue;
    summary.compressed_bytes += layer->blob_bytes;
    summary.bytes += layer->data_bytes;
    formats.insert(layer->format);
    CO_TRY(placed, co_await x_pool.load_layer(digest));
    summary.present_bytes += x_pool.present_bytes(placed);
  }
  for (const TargetRecord& target : targets) {
    if (target.ref == record.ref) summary.mounts.push_back(target.target);
  }
  summary.formats.assign(formats.begin(), formats.end());
  summary.record = std::move(record);
  co_return summary;
}

Task<Result<uint64_t>> Images::remove(std::string ref) {
  CO_TRY(reference, Reference::parse(ref));
  const std::string name = reference.to_string();
  CO_TRY(known, co_await on_worker([&] { return x_store.image(name); }));
  if (!known)
    co_return make_error(Errc::kNotFound, "no image " + name + ": dedupctl images lists them");
  CO_TRY(targets, co_await on_worker([this] { return x_store.targets(); }));
  for (const TargetRecord& target : targets) {
    if (target.ref == name)
      co_return make_error(Errc::kExists, name + " is mounted at " + target.target);
  }
  CO_TRY(co_await on_worker([&] { return x_store.remove_image(name); }));
  co_return co_await release(image_holder(name));
}

Task<Result<PreparedLayer>> Images::prepare_layer(std::string ref, std::optional<Digest> manifest,
                                                  Digest layer, std::vector<Digest> layer_hint,
                                                  std::string holder) {
  CO_TRY(reference, Reference::parse(ref));
  CO_TRY(resolved, co_await resolve_for(std::move(reference), manifest, layer));
  const auto image = std::make_shared<const ResolvedImage>(std::move(resolved));
  begin_preparing(*image);
  std::optional<size_t> wanted;
  for (size_t i = 0; i < image->manifest.layers.size(); ++i) {
    const Digest& one = image->manifest.layers[i].digest;
    if (one == layer && !wanted) {
      wanted = i;
    } else if (std::find(layer_hint.begin(), layer_hint.end(), one) != layer_hint.end()) {
      // containerd asks for one layer after the other; the others start now.
      x_tasks.spawn(prepare_quietly(image, i));
    }
  }
  Result<PreparedLayer> prepared = PreparedLayer();
  if (wanted)
    prepared = co_await prepare_one(image, *wanted, std::move(holder));
  else
    prepared = make_error(Errc::kNotFound, "image " + ref + " has no layer " + layer.to_string());
  if (end_preparing(*image) && x_chains.keeps_idle()) x_tasks.spawn(mount_ahead(image));
  co_return prepared;
}

Task<Result<PreparedLayer>> Images::prepare_one(std::shared_ptr<const ResolvedImage> image,
                                                size_t layer, std::string holder) {
  const Descriptor& wanted = image->manifest.layers[layer];
  CO_TRY(co_await hold(std::move(holder), wanted.digest));
  CO_TRY(co_await on_worker([&] { return x_store.release(hint_holder(wanted.digest)); }));
  co_return co_await bring_layer(image, layer, [](uint64_t) {});
}

// A hint only: its failure is met again, and reported, when the layer itself is asked for.
Task<void> Images::prepare_quietly(std::shared_ptr<const ResolvedImage> image, size_t layer) {
  begin_preparing(*image);
  const Descriptor& wanted = image->manifest.layers[layer];
  const auto held = co_await hold(hint_holder(wanted.digest), wanted.digest);
  if (held.ok()) {
    const auto outcome = co_await bring_layer(image, layer, [](uint64_t) {});
    static_cast<void>(outcome);
  }
  if (end_preparing(*image) && x_chains.keeps_idle()) x_tasks.spawn(mount_ahead(image));
}

Task<Result<Digest>> Images::import_directory(std::string directory, std::string holder) {
  CO_TRY(record, co_await x_layers.import(std::move(directory)));
  // Between the two a collection could take the layer again; the gate in hold() orders them, the
  // check tells.
  CO_TRY(co_await hold(std::move(holder), record.digest));
  CO_TRY(still, co_await x_pool.find_layer(record.digest));
  if (!still)
    co_return make_error(Errc::kUnavailable,
                         "the imported layer was removed at once: import again");
  co_return record.digest;
}

Task<Result<std::string>> Images::mount_chain(std::vector<Digest> layers, bool keep_whiteouts,
                                              std::string holder) {
  co_return co_await mount_held(std::move(layers), keep_whiteouts, std::move(holder),
                                Chains::Purpose::kUse);
}

Task<Result<std::string>> Images::mount_held(std::vector<Digest> layers, bool keep_whiteouts,
                                             std::string holder, Chains::Purpose purpose) {
  if (layers.empty()) co_return make_error(Errc::kInvalid, "a chain needs at least one layer");
  for (const Digest& layer : layers) {
    CO_TRY(known, co_await x_pool.find_layer(layer));
    if (!known)
      co_return make_error(Errc::kNotFound, "layer " + layer.to_string() + " is not in the pool");
  }
  const Digest id = Chains::id_of(layers, keep_whiteouts);
  {
    const auto gate = co_await x_gate.acquire(1, Priority::kOnDemand);
    CO_TRY(co_await on_worker([&]() -> Result<void> {
      for (const Digest& layer : layers) TRY(x_store.hold_layer(holder, layer));
      return x_store.hold_chain(holder, id);
    }));
  }
  co_return co_await x_chains.mount(std::move(layers), keep_whiteouts, purpose);
}

Task<Result<uint64_t>> Images::release(std::string holder) {
  {
    const auto gate = co_await x_gate.acquire(1, Priority::kOnDemand);
    CO_TRY(co_await on_worker([&] { return x_store.release(holder); }));
  }
  co_return co_await collect_garbage();
}

Task<Result<uint64_t>> Images::collect_garbage() {
  const auto gate = co_await x_gate.acquire(1, Priority::kBackground);
  co_await x_chains.collect();
  CO_TRY(layers, co_await on_worker([this] { return x_store.unheld_layers(); }));
  uint64_t freed_bytes = 0;
  for (const Digest& layer : layers) {
    CO_TRY(freed, co_await x_pool.remove_layer(layer));
    freed_bytes += freed;
  }
  if (!layers.empty()) {
    if (x_events.removed) x_events.removed();
    CO_TRY(co_await on_worker([this] { return x_store.forget_locations_without_layer(); }));
    x_log.info("removed layers", {{"layers", layers.size()}, {"freed_bytes", freed_bytes}});
  }
  co_return freed_bytes;
}

Task<void> Images::recover() {
  co_await x_chains.remount_held();
  auto hints = co_await on_worker([this] { return x_store.holders(std::string(kHintPrefix)); });
  for (size_t i = 0; hints.ok() && i < hints->size(); ++i) {
    auto released = co_await on_worker([&] { return x_store.release((*hints)[i]); });
    if (!released.ok()) break;  // tried again at the next start
  }
  auto targets = co_await on_worker([this] { return x_store.targets(); });
  auto points = co_await on_worker([] { return mount_points(); });
  if (targets.ok() && points.ok()) {
    for (const TargetRecord& target : *targets) {
      if (points->contains(target.target)) continue;
      auto forgotten = co_await on_worker([&] { return x_store.remove_target(target.target); });
      auto released = co_await release(target_holder(target.target));
      if (!forgotten.ok() || !released.ok()) continue;
      x_log.info("mount is gone since the last run", {{"target", target.target}});
    }
  }
  auto freed = co_await collect_garbage();
  if (!freed.ok()) x_log.error("garbage cannot be collected", {{"error", freed.error()}});
  x_tasks.spawn(collect_regularly());
}

// A chain that a container still read when it was released is found free only later.
Task<void> Images::collect_regularly() {
  for (;;) {
    co_await x_ring.sleep(kCollectInterval);
    auto freed = co_await collect_garbage();
    if (!freed.ok()) x_log.error("garbage cannot be collected", {{"error", freed.error()}});
  }
}

}  // namespace dedup
