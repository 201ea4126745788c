// ingest_layer: one streaming pass over a whole layer blob: download, inflate, verify layer digest
// and diffID, parse tar, hash extents, write what the pool lacks. No temporary copy, no file per
// entry; a few MiB of memory for any layer size. Loop thread; the two stages run on workers and
// overlap.
#pragma once

#include <functional>
#include <memory>

#include "base/log.h"
#include "format/entry.h"
#include "pool/pool.h"
#include "source/source.h"

namespace dedup {

struct IngestRequest {
  Descriptor layer;  // digest and size of the compressed blob
  Digest diff_id;
  LayerLimits limits;
  std::function<void(uint64_t done_bytes)> progress;  // compressed bytes consumed; loop thread
};

// Adds the layer to the pool, or, when the pool has it with missing pieces, fills those.
//   errors  kCorruption: layer digest, diffID, gzip or tar damage, naming the layer; kInvalid: an
//   entry breaks a rule;
//           kNoSpace; those of the stream. Nothing of the layer is visible after an error.
Task<Result<LayerRecord>> ingest_layer(Ring& ring, Workers& workers, Pool& pool,
                                       std::unique_ptr<BlobStream> stream, IngestRequest request);

}  // namespace dedup
