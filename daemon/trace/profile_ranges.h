// profile_ranges: what a profile means in the pool of this node. Pure; any thread.
#pragma once

#include <vector>

#include "format/image_tree.h"
#include "trace/prefetcher.h"
#include "trace/profile.h"

namespace dedup {

// A layer of the image the profile is for.
struct NamedLayer {
  Digest digest;
  PlacedLayer placed;
};

// The places of the profile's ranges, in its order. What the image does not have, as in a profile
// of somebody else's making, is left out. An entry without a layer means the topmost layer that has
// such a file. What names the same bytes again and again ends where twice the layers' size is
// named.
//   layers  of the image, bottom first
std::vector<PrefetchRange> profile_ranges(const Profile& profile,
                                          const std::vector<NamedLayer>& layers);

// All data of the image, in the order of its layers.
std::vector<PrefetchRange> all_ranges(const std::vector<NamedLayer>& layers);

}  // namespace dedup
