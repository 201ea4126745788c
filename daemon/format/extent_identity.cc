#include "format/extent_identity.h"

#include <array>

#include "base/bytes.h"

namespace dedup {

Digest identity_of_chunks(std::span<const Chunk> chunks) {
  Sha256 hash;
  for (const Chunk& chunk : chunks) {
    std::array<std::byte, 8> bytes;
    store_le(bytes, chunk.bytes);
    hash.update(bytes);
    hash.update(chunk.digest.bytes);
  }
  Digest identity = hash.finish();
  for (std::byte& byte : identity.bytes) byte = ~byte;
  return identity;
}

}  // namespace dedup
