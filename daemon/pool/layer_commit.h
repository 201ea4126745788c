// commit_layer: the one place where a layer becomes part of the pool. Add -> commit: until the
// catalogue's transaction commits, nothing refers to the files written before it, and leftovers are
// swept when the pool opens. Order: segment data durable, then its states and table, then the
// layer's index file, then the catalogue. Any thread.
#pragma once

#include <string>
#include <unordered_map>

#include "format/image_tree.h"
#include "pool/catalog.h"
#include "pool/segment.h"

namespace dedup {

struct LayerPlan {
  LayerRecord record;  // digest zero: named by the sha256 of the index file (imported directories)
  LayerIndex index;
  SegmentId segment = 0;  // a fresh number (Catalog::next_segment)
  // A streaming pass fills this: where it found or wrote each extent, and whether the data is in
  // `segment`'s file already. Empty: lazy; new extents get slots here and their pieces are missing.
  std::unordered_map<Digest, Slot> streamed;
  bool is_streamed = false;
};

struct CommittedLayer {
  LayerRecord record;
  PlacedLayer placed;
};

// directory: the pool's, with segments/ and layers/ below.
//   errors  kUnavailable: a chunk the streaming pass relied on was removed meanwhile (repeat the
//   pull); kExists: the
//           layer is there already; kNoSpace, kIo.
Result<CommittedLayer> commit_layer(Catalog& catalog, const std::string& directory, LayerPlan plan);

std::string layer_index_path(const std::string& directory, Digest layer);
// errors  kNotFound, kCorruption.
Result<PlacedLayer> load_layer_index(const std::string& directory, Digest layer);

}  // namespace dedup
