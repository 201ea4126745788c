// Images: what users name: pull, mount, list, remove; and the holders through which containerd's
// snapshotter keeps layers and chains. Every change of who holds what, and every removal, passes
// one gate, so that a removal never takes what a pull has just begun to rely on. Owned by main;
// loop thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "image/chains.h"
#include "image/layers.h"
#include "image/store.h"

namespace dedup {

struct LayerProgress {
  Digest layer;
  enum class State : uint8_t { kWaiting, kFetching, kReady } state = State::kWaiting;
  uint64_t done_bytes = 0;
  uint64_t total_bytes = 0;
};

struct ImageSummary {
  ImageRecord record;
  uint64_t compressed_bytes = 0;
  uint64_t bytes = 0;
  uint64_t present_bytes = 0;
  std::vector<std::string> formats;  // distinct, of the layers
  std::vector<std::string> mounts;   // targets
};

// Who wants to know that images come and go; each may be empty. Called on the loop thread.
struct ImageEvents {
  // The first of its layers is asked for.
  std::function<void(const ResolvedImage&)> preparing;
  // One of its layers can be mounted.
  std::function<void(const ResolvedImage&, const Digest& layer)> layer_ready;
  // No layer of it is being prepared any more; some may have failed.
  std::function<void(const ResolvedImage&)> prepared;
  // Layers were taken out of the pool.
  std::function<void()> removed;
};

class Images {
 public:
  using Progress = std::function<void(const LayerProgress&)>;

  Images(Ring& ring, Workers& workers, Log& log, Pool& pool, ImageStore& store,
         Locations& locations, Layers& layers, Chains& chains, ImageEvents events = {});

  // Asks the place of the image what it is now.
  Task<Result<ResolvedImage>> look_up(std::string ref);
  // Makes all layers of the image usable and records it under its name. Repeatable; a failed pull
  // can be repeated.
  Task<Result<ImageSummary>> pull(std::string ref, Progress progress);
  // pull() when needed, then the image read-only at `target`, an existing directory.
  Task<Result<ImageSummary>> mount(std::string ref, std::string target, Progress progress);
  Task<Result<void>> unmount(std::string target);
  Task<Result<std::vector<ImageSummary>>> list();
  // returns bytes freed. errors kNotFound; kExists while mounted.
  Task<Result<uint64_t>> remove(std::string ref);

  // For the snapshotter. layer_hint: other layers of the image worth preparing beside.
  Task<Result<PreparedLayer>> prepare_layer(std::string ref, std::optional<Digest> manifest,
                                            Digest layer, std::vector<Digest> layer_hint,
                                            std::string holder);
  Task<Result<Digest>> import_directory(std::string directory, std::string holder);
  Task<Result<std::string>> mount_chain(std::vector<Digest> layers, bool keep_whiteouts,
                                        std::string holder);
  Task<Result<uint64_t>> release(std::string holder);

  // Mounts targets again after a reboot; drops what nobody holds. At start.
  Task<void> recover();

 private:
  Task<Result<ResolvedImage>> resolve(Reference reference, std::optional<Digest> manifest);
  Task<Result<ResolvedImage>> resolve_for(Reference reference, std::optional<Digest> manifest,
                                          Digest layer);
  Task<Result<void>> hold(std::string holder, Digest layer);
  Task<Result<uint64_t>> collect_garbage();
  Task<Result<ImageSummary>> summarise(ImageRecord record);
  // targets: all there are; the caller's, awaited at once.
  Task<Result<ImageSummary>> summarise(ImageRecord record, std::span<const TargetRecord> targets);
  Task<void> prepare_quietly(std::shared_ptr<const ResolvedImage> image, size_t layer);
  Task<void> mount_ahead(std::shared_ptr<const ResolvedImage> image);
  Task<Result<std::string>> mount_held(std::vector<Digest> layers, bool keep_whiteouts,
                                       std::string holder, Chains::Purpose purpose);
  Task<Result<PreparedLayer>> prepare_one(std::shared_ptr<const ResolvedImage> image, size_t layer,
                                          std::string holder);
  void begin_preparing(const ResolvedImage& image);
  bool end_preparing(const ResolvedImage& image);  // true: no layer of it is under way any more
  Task<Result<PreparedLayer>> bring_layer(std::shared_ptr<const ResolvedImage> image, size_t layer,
                                          Layers::Progress progress);
  Task<void> collect_regularly();
  Task<Result<void>> prepare_all(std::shared_ptr<const ResolvedImage> image, std::string holder,
                                 Progress progress);

  template <typename F>
  auto on_worker(F&& function) {
    return x_workers.run(Priority::kOnDemand, std::forward<F>(function));
  }

  Ring& x_ring;
  Workers& x_workers;
  Log& x_log;
  Pool& x_pool;
  ImageStore& x_store;
  Locations& x_locations;
  Layers& x_layers;
  Chains& x_chains;
  const ImageEvents x_events;
  std::map<Digest, unsigned> x_preparing;  // by manifest: layers under way
  Semaphore x_gate;
  TaskScope x_tasks;
  std::map<std::string, ResolvedImage>
      x_resolved;  // by "REF@MANIFEST", of a name alone "REF@", so a pull of N layers resolves once
};

}  // namespace dedup
