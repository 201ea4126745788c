// Layers: brings single layers to the node: eStargz by its table of contents (lazy), everything
// else by one streaming pass, directories by import. Decides per layer, so that one plain layer
// does not cost its neighbours their laziness. Owned by main; loop thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "format/entry.h"
#include "image/ingest.h"
#include "image/store.h"
#include "pool/pool.h"
#include "source/locations.h"

namespace dedup {

struct LayerOptions {
  // A lazy layer has just come to the node whose maker wants the blob bytes in `blob` early.
  using OnLandmark = std::function<void(const LayerRecord& layer, ByteRange blob)>;

  LayerLimits limits;
  unsigned max_streams = 2;  // streaming passes at once: bounds memory
  OnLandmark on_landmark;
};

struct PreparedLayer {
  LayerRecord record;
  bool lazy = false;  // data comes on first touch
};

class Layers {
 public:
  using Progress = std::function<void(uint64_t done_bytes)>;

  Layers(Ring& ring, Workers& workers, Log& log, Pool& pool, ImageStore& store,
         Locations& locations, LayerOptions options);

  // Knows again, after a restart, where blobs can be read.
  Result<void> load_locations();

  // Makes the layer usable: in the pool with an index, its data present or fetchable. Single flight
  // per layer digest.
  Task<Result<PreparedLayer>> prepare(Reference reference, Descriptor layer, Digest diff_id,
                                      Progress progress);

  // The layer made of a directory's content.
  Task<Result<LayerRecord>> import(std::string directory);

 private:
  using Pending = OneShot<Result<PreparedLayer>>;
  Task<Result<PreparedLayer>> prepare_once(Reference reference, Descriptor layer, Digest diff_id,
                                           Progress progress);
  Task<Result<bool>> usable(LayerRecord record);
  Task<Result<std::optional<LayerRecord>>> prepare_estargz(Descriptor layer, Digest diff_id,
                                                           Digest toc_digest);
  Task<Result<LayerRecord>> prepare_stream(Descriptor layer, Digest diff_id, Progress progress);

  Ring& x_ring;
  Workers& x_workers;
  Log& x_log;
  Pool& x_pool;
  ImageStore& x_store;
  Locations& x_locations;
  LayerOptions x_options;
  Semaphore x_streams;
  std::map<Digest, std::shared_ptr<Pending>> x_pending;
};

}  // namespace dedup
