// Warmup: from the moment an image is asked for, finds the profile of how its containers start (of
// this node, else from the image's registry) and gives it to the prefetcher as soon as the layers
// are there; then, where wanted, the rest of the image. Landmarks of eStargz layers are used when
// there is no profile. Owned by main; loop thread, files are read on workers.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/sync.h"
#include "pool/pool.h"
#include "source/locations.h"
#include "trace/prefetcher.h"
#include "trace/profile_ranges.h"
#include "trace/trace_files.h"

namespace dedup {

struct WarmupOptions {
  bool from_registry = true;
  bool fill = false;          // the rest of the image afterwards
  size_t max_ranges = 65536;  // file ranges of one profile
};

TracedImage traced_image(const ResolvedImage& image);

class Warmup {
 public:
  Warmup(Ring& ring, Workers& workers, Log& log, Pool& pool, Locations& locations,
         TraceFiles& files, Prefetcher& prefetcher, WarmupOptions options);

  void preparing(const ResolvedImage& image);
  void layer_ready(const ResolvedImage& image, const Digest& layer);
  void prepared(const ResolvedImage& image);
  // Of a layer that has just come: where its maker's landmark is.
  void landmark(const LayerRecord& layer, ByteRange blob);
  // A container is going to use it: also of images that came long ago.
  void used(const std::vector<Digest>& layers);
  // Nobody uses it any more.
  void unused(const std::vector<Digest>& layers);
  // Layers left the pool: what was warm may not be.
  void removed();
  // The profile of an image changed: the next container that uses it is prefetched for by that.
  void changed(const Digest& image);

  // The newest profile the image's registry has, kept in TraceFiles.
  //   returns its path. errors  kNotFound: there is none; those of the registry and of read_profile
  Task<Result<std::string>> pull(TracedImage image, Reference reference);

 private:
  struct Landmark {
    std::shared_ptr<const Segment> segment;
    ByteRange blob;
  };
  struct Arrival {
    std::map<Digest, std::unique_ptr<OneShot<bool>>> layers;  // set when they are there, or failed
    bool again = false;  // a layer failed, or what it is made of changed: it will not be warm
    Arrival(Ring& ring, const TracedImage& image);
    void note(const Digest& layer);
    void note_all();
  };

  void begin(TracedImage image, Reference reference);
  Task<void> recall(Digest image);
  Task<void> warm(TracedImage image, Reference reference, std::shared_ptr<Arrival> arrival);
  Task<Result<Profile>> find_profile(const TracedImage& image, const Reference& reference);
  Task<void> prefetch_layer(TracedImage image, size_t layer, std::shared_ptr<const Profile> profile,
                            std::shared_ptr<Arrival> arrival);
  Task<void> prefetch_whole(TracedImage image, std::shared_ptr<const Profile> profile,
                            std::shared_ptr<Arrival> arrival);
  Task<void> fill(TracedImage image);
  Task<Result<std::vector<NamedLayer>>> load_layers(TracedImage image);
  std::vector<Landmark> landmarks_of(const TracedImage& image) const;

  Ring& x_ring;
  Workers& x_workers;
  Log& x_log;
  Pool& x_pool;
  Locations& x_locations;
  TraceFiles& x_files;
  Prefetcher& x_prefetcher;
  const WarmupOptions x_options;
  std::map<Digest, std::shared_ptr<Arrival>> x_arrivals;  // by image key, while being looked after
  std::set<Digest> x_warm;                                // image keys that were
  std::map<Digest, std::pair<TracedImage, Reference>> x_known;
  std::map<Digest, Landmark> x_landmarks;                                     // by layer
  std::map<Digest, std::chrono::steady_clock::time_point> x_without_profile;  // by manifest
  TaskScope x_tasks;
};

}  // namespace dedup
