// The label dialects in which a client tells a remote snapshotter which layer of which image a
// Prepare is about: containerd's own (cri.*), stargz, SOCI, and overlaybd's image reference. Pure;
// any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "snapshotter/snapshot.h"

namespace dedup {

struct RemoteLayer {
  std::string target;           // chainID the committed snapshot stands for
  std::string ref;              // image reference
  std::string layer_digest;     // compressed blob
  std::string manifest_digest;  // "" when the dialect has none
  // This image's layers from this one upward, as far as they fit into a label.
  std::vector<std::string> layers;
};

// Nothing when target, reference or layer digest is missing: an ordinary snapshot. Dialects may be
// mixed. Digests that are not well-formed count as missing.
std::optional<RemoteLayer> remote_layer(const Labels& labels);

}  // namespace dedup
