// Tracing: recording and warming of a worker, wired together: hands the comings and goings of
// images and mounts to who cares. Owned by main; loop thread.
#pragma once

#include <optional>
#include <string>

#include "image/chains.h"
#include "image/images.h"
#include "trace/recordings.h"
#include "trace/warmup.h"

namespace dedup {

struct TracingOptions {
  std::string directory;  // of TraceFiles
  bool prefetch_enabled = true;
  RecordingOptions recording;
  PrefetchOptions prefetch;
  WarmupOptions warmup;
};

class Tracing {
 public:
  Tracing(Ring& ring, Workers& workers, Log& log, Pool& pool, Locations& locations,
          const TracingOptions& options);

  ImageEvents image_events();
  void watch_mounts(ChainOptions& chains);
  void landmark(const LayerRecord& layer, ByteRange blob);

  // Once the loop runs.
  Task<void> open() { return x_recordings.open(); }
  void stop();
  Task<void> close();

  const TraceFiles& files() const { return x_files; }
  TraceFiles& files() { return x_files; }
  Recordings& recordings() { return x_recordings; }
  Warmup& warmup() { return x_warmup; }

 private:
  const bool x_prefetch_enabled;
  TraceFiles x_files;
  Recordings x_recordings;
  Prefetcher x_prefetcher;
  Warmup x_warmup;
};

}  // namespace dedup
