// Identity of an extent that several chunks cover, for formats whose chunks do not fall on extent
// boundaries. Pure; any thread.
#pragma once

#include <span>

#include "base/digest.h"
#include "format/layer_index.h"

namespace dedup {

// Made from what is verified on every fetch, the sizes and digests of the chunks, never from a
// digest of the whole that an index merely claims: the pool shares bytes by identity, and nobody
// hashes the whole before a reader sees a part. The inverted bits keep it apart from the sha256 of
// any content, so that no file can be made whose own digest it is.
Digest identity_of_chunks(std::span<const Chunk> chunks);

}  // namespace dedup
