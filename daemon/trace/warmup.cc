#include "trace/warmup.h"

#include <algorithm>

#include "pool/layer_commit.h"
#include "trace/profile_file.h"
#include "trace/profile_registry.h"

namespace dedup {
namespace {

constexpr std::chrono::minutes kAskAgain{10};
constexpr size_t kMaxRemembered = 4096;

template <typename Map>
void bound(Map& map) {
  if (map.size() >= kMaxRemembered) map.clear();
}

// Else its layers cannot be told apart before all are there.
bool names_layers(const Profile& profile) {
  return std::ranges::all_of(profile.entries,
                             [](const ProfileEntry& entry) { return entry.layer.has_value(); });
}

}  // namespace

Warmup::Arrival::Arrival(Ring& ring, const TracedImage& image) {
  for (const Digest& layer : image.layers)
    layers.try_emplace(layer, std::make_unique<OneShot<bool>>(ring));
}

void Warmup::Arrival::note(const Digest& layer) {
  const auto found = layers.find(layer);
  if (found != layers.end() && !found->second->ready()) found->second->set(true);
}

void Warmup::Arrival::note_all() {
  for (auto& [layer, there] : layers) {
    if (!there->ready()) there->set(true);
  }
}

TracedImage traced_image(const ResolvedImage& image) {
  TracedImage traced;
  for (const Descriptor& layer : image.manifest.layers) traced.layers.push_back(layer.digest);
  traced.key = image_key(traced.layers);
  traced.ref = image.reference.to_string();
  traced.manifest = image.manifest_digest;
  return traced;
}

Warmup::Warmup(Ring& ring, Workers& workers, Log& log, Pool& pool, Locations& locations,
               TraceFiles& files, Prefetcher& prefetcher, WarmupOptions options)
    : x_ring(ring),
      x_workers(workers),
      x_log(log),
      x_pool(pool),
      x_locations(locations),
      x_files(files),
      x_prefetcher(prefetcher),
      x_options(options) {}

void Warmup::preparing(const ResolvedImage& image) {
  TracedImage traced = traced_image(image);
  bound(x_known);
  x_known.insert_or_assign(traced.key, std::pair(traced, image.reference));
  if (!x_warm.contains(traced.key)) begin(std::move(traced), image.reference);
}

void Warmup::begin(TracedImage image, Reference reference) {
  auto& arrival = x_arrivals[image.key];
  if (arrival != nullptr) return;
  arrival = std::make_shared<Arrival>(x_ring, image);
  x_tasks.spawn(warm(std::move(image), std::move(reference), arrival));
}

void Warmup::layer_ready(const ResolvedImage& image, const Digest& layer) {
  const auto found = x_arrivals.find(traced_image(image).key);
  if (found != x_arrivals.end()) found->second->note(layer);
}

void Warmup::prepared(const ResolvedImage& image) {
  const auto found = x_arrivals.find(traced_image(image).key);
  if (found != x_arrivals.end()) found->second->note_all();
}

void Warmup::landmark(const LayerRecord& layer, ByteRange blob) {
  bound(x_landmarks);
  const auto segment = x_pool.segment(layer.segment);
  if (segment != nullptr) x_landmarks[layer.digest] = {segment, blob};
}

void Warmup::used(const std::vector<Digest>& layers) {
  const Digest key = image_key(layers);
  const auto known = x_known.find(key);
  if (known == x_known.end()) {
    x_tasks.spawn(recall(key));
    return;
  }
  if (!x_warm.contains(key)) begin(known->second.first, known->second.second);
  const auto arrival = x_arrivals.find(key);
  if (arrival != x_arrivals.end()) arrival->second->note_all();
}

// An image that came in an earlier life of the daemon. Without a file about it there is nothing to
// prefetch by.
Task<void> Warmup::recall(Digest key) {
  auto image = co_await x_workers.run(Priority::kPrefetch, [&] { return x_files.image(key); });
  if (!image || x_known.contains(key)) co_return;
  auto reference = Reference::parse(image->ref);
  if (!reference.ok()) co_return;
  bound(x_known);
  const std::vector<Digest> layers = image->layers;
  x_known.insert_or_assign(key, std::pair(std::move(*image), std::move(*reference)));
  used(layers);
}

void Warmup::unused(const std::vector<Digest>& layers) {
  const Digest key = image_key(layers);
  x_prefetcher.drop(key);
  x_warm.erase(key);
}

void Warmup::removed() {
  x_warm.clear();
  for (auto& [image, arrival] : x_arrivals) arrival->again = true;
}

void Warmup::changed(const Digest& image) {
  x_warm.erase(image);
  const auto arrival = x_arrivals.find(image);
  if (arrival != x_arrivals.end()) arrival->second->again = true;
}

Task<void> Warmup::warm(TracedImage image, Reference reference, std::shared_ptr<Arrival> arrival) {
  auto found = co_await find_profile(image, reference);
  std::shared_ptr<const Profile> profile;
  if (found.ok()) {
    if (found->entries.size() > x_options.max_ranges) found->entries.resize(x_options.max_ranges);
    profile = std::make_shared<const Profile>(std::move(*found));
  }
  if (profile != nullptr && names_layers(*profile)) {
    TaskScope layers;
    for (size_t i = 0; i < image.layers.size(); ++i)
      layers.spawn(prefetch_layer(image, i, profile, arrival));
    co_await layers.join();
  } else {
    for (auto& [layer, there] : arrival->layers) co_await there->wait();
    co_await prefetch_whole(image, profile, arrival);
  }
  if (x_options.fill) co_await fill(image);
  x_arrivals.erase(image.key);
  if (arrival->again) co_return;
  bound(x_warm);
  x_warm.insert(image.key);
}

Task<Result<Profile>> Warmup::find_profile(const TracedImage& image, const Reference& reference) {
  auto profile = co_await x_workers.run(Priority::kOnDemand, [&] { return x_files.best(image); });
  if (profile.ok() || !x_options.from_registry || !image.manifest) co_return profile;
  const auto asked = x_without_profile.find(*image.manifest);
  const auto now = std::chrono::steady_clock::now();
  if (asked != x_without_profile.end() && now - asked->second < kAskAgain) co_return profile;
  const auto pulled = co_await pull(image, reference);
  if (!pulled.ok()) {
    bound(x_without_profile);
    x_without_profile[*image.manifest] = now;
    // A registry that has none, or knows no referrers, is how most are.
    const Errc code = pulled.error().code;
    if (code != Errc::kNotFound && code != Errc::kUnsupported)
      x_log.warn("the profile of an image is not used",
                 {{"image", image.ref}, {"error", pulled.error()}});
    co_return profile;
  }
  co_return co_await x_workers.run(Priority::kOnDemand, [&] { return x_files.best(image); });
}

Task<Result<std::string>> Warmup::pull(TracedImage image, Reference reference) {
  CO_TRY(profile, co_await pull_profile(x_workers, x_log, x_locations.source(reference), image));
  co_return co_await x_workers.run(Priority::kPrefetch,
                                   [&] { return x_files.put_pulled(image, profile); });
}

std::vector<Warmup::Landmark> Warmup::landmarks_of(const TracedImage& image) const {
  std::vector<Landmark> landmarks;
  for (const Digest& layer : image.layers) {
    const auto found = x_landmarks.find(layer);
    if (found != x_landmarks.end()) landmarks.push_back(found->second);
  }
  return landmarks;
}

// Its first files come while the table of contents of a larger layer is still being read.
Task<void> Warmup::prefetch_layer(TracedImage image, size_t layer,
                                  std::shared_ptr<const Profile> profile,
                                  std::shared_ptr<Arrival> arrival) {
  const Digest digest = image.layers[layer];
  co_await arrival->layers.at(digest)->wait();
  auto ranges =
      co_await x_workers.run(Priority::kOnDemand, [&]() -> Result<std::vector<PrefetchRange>> {
        TRY(placed, load_layer_index(x_pool.options().directory, digest));
        const std::vector<NamedLayer> one{{digest, std::move(placed)}};
        return profile_ranges(*profile, one);
      });
  // A layer that failed to come is reported by who asked for it.
  if (!ranges.ok()) {
    arrival->again = true;
    co_return;
  }
  x_prefetcher.add({"profile of " + image.ref, image.key, std::move(*ranges)});
}

Task<Result<std::vector<NamedLayer>>> Warmup::load_layers(TracedImage image) {
  co_return co_await x_workers.run(Priority::kPrefetch, [&]() -> Result<std::vector<NamedLayer>> {
    std::vector<NamedLayer> layers;
    for (const Digest& digest : image.layers) {
      TRY(placed, load_layer_index(x_pool.options().directory, digest));
      layers.push_back({digest, std::move(placed)});
    }
    return layers;
  });
}

Task<void> Warmup::prefetch_whole(TracedImage image, std::shared_ptr<const Profile> profile,
                                  std::shared_ptr<Arrival> arrival) {
  const auto landmarks = landmarks_of(image);
  if (profile == nullptr && landmarks.empty()) co_return;
  auto layers = co_await load_layers(image);
  if (!layers.ok()) {
    arrival->again = true;
    co_return;
  }
  auto ranges = co_await x_workers.run(Priority::kPrefetch, [&] {
    if (profile != nullptr) return profile_ranges(*profile, *layers);
    std::vector<PrefetchRange> all;
    for (const Landmark& landmark : landmarks) {
      const auto before = before_landmark(*landmark.segment, landmark.blob);
      all.insert(all.end(), before.begin(), before.end());
    }
    return all;
  });
  const std::string what = profile != nullptr ? "profile of " : "landmarks of ";
  x_prefetcher.add({what + image.ref, image.key, std::move(ranges)});
}

Task<void> Warmup::fill(TracedImage image) {
  auto layers = co_await load_layers(image);
  if (!layers.ok()) co_return;
  auto ranges = co_await x_workers.run(Priority::kPrefetch, [&] { return all_ranges(*layers); });
  x_prefetcher.add({"rest of " + image.ref, image.key, std::move(ranges), Priority::kBackground});
}

}  // namespace dedup
