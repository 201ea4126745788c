// parse_estargz_toc on any text: what it accepts keeps every promise of LayerIndex, whatever the
// TOC claims.
#include <cstdlib>

#include "format/estargz.h"
#include "format/extent_identity.h"

namespace {

using namespace dedup;

void require(bool condition) {
  if (!condition) std::abort();
}

void check_extent(const LayerIndex& index, const Extent& extent, uint64_t toc_offset) {
  require(extent.chunk_count > 0);
  require(uint64_t{extent.first_chunk} + extent.chunk_count <= index.chunks.size());
  const auto chunks = std::span(index.chunks).subspan(extent.first_chunk, extent.chunk_count);
  uint64_t bytes = 0;
  for (const Chunk& chunk : chunks) {
    require(chunk.blob_bytes > 0 && chunk.blob_bytes <= toc_offset);
    require(chunk.blob_offset <= toc_offset - chunk.blob_bytes);
    require(chunk.bytes > 0 && !chunk.digest.is_zero());
    bytes += chunk.bytes;
  }
  require(bytes == extent.bytes);
  require(extent.identity == (chunks.size() == 1 ? chunks[0].digest : identity_of_chunks(chunks)));
}

void check_layer(const LayerIndex& index, uint64_t toc_offset, uint32_t chunk_bytes) {
  require(!index.inodes.empty() && index.inodes[kRootInode].is_directory());
  for (const Inode& inode : index.inodes) {
    require(inode.is_regular() || inode.extent_count == 0);
    require(uint64_t{inode.first_extent} + inode.extent_count <= index.extents.size());
    uint64_t covered = 0;
    for (uint32_t i = 0; i < inode.extent_count; ++i) {
      const Extent& extent = index.extents[inode.first_extent + i];
      require(extent.file_offset == covered);
      require(extent.bytes <= chunk_bytes || inode.extent_count == 1);
      check_extent(index, extent, toc_offset);
      covered += extent.bytes;
    }
    if (inode.is_regular()) require(covered == inode.size);
    std::string_view previous;
    for (const DirEntry& child : inode.children) {
      require(child.name > previous && child.name.find('/') == std::string::npos);
      require(child.inode > 0 && child.inode < index.inodes.size());
      previous = child.name;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr uint32_t kChunkBytes = 65536;
  constexpr uint64_t kTocOffset = 100'000;
  LayerLimits limits;
  limits.max_entries = 10'000;
  const auto layer = parse_estargz_toc(std::as_bytes(std::span(data, size)), {kTocOffset, 51},
                                       kChunkBytes, limits);
  if (!layer.ok()) return 0;
  check_layer(layer->index, kTocOffset, kChunkBytes);
  require(layer->prefetch.end() < kTocOffset);
  return 0;
}
