// The on-disk form of a placed layer (LayerIndex + slots): magic, version, little-endian counts and
// records, sha256 of everything before it at the end. Written and read only by this node, yet read
// as hostile: a file from a torn disk must be refused, never crash. Pure; any thread.
#pragma once

#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "format/layer_index.h"

namespace dedup {

struct LayerIndexFile {
  LayerIndex index;
  std::vector<Slot> slots;  // empty, or one per extent
};

Bytes encode_layer_index(const LayerIndex& index, std::span<const Slot> slots);
// errors  kCorruption (magic, digest, counts, references out of range), kUnsupported (newer
// version).
Result<LayerIndexFile> decode_layer_index(std::span<const std::byte> file);

}  // namespace dedup
