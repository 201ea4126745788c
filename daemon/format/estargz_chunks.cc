#include "format/estargz_chunks.h"

#include <algorithm>
#include <string>

#include "base/bytes.h"
#include "format/extent_identity.h"

namespace dedup {
namespace {

Error broken(const std::string& rule) {
  return make_error(Errc::kInvalid, rule);
}

// The digest a TOC field holds; zero when the field is empty.
Result<Digest> optional_digest(const std::string& text) {
  if (text.empty()) return Digest{};
  return Digest::parse(text);
}

// Whether every chunk is one extent of its own: all but the last exactly chunk_bytes long, the last
// not longer.
bool chunks_are_extents(const std::vector<Chunk>& chunks, uint32_t chunk_bytes) {
  return std::all_of(chunks.begin(), chunks.end() - 1,
                     [&](const Chunk& c) { return c.bytes == chunk_bytes; }) &&
         chunks.back().bytes <= chunk_bytes;
}

}  // namespace

Result<void> ChunkPlaces::add(const TocEntry& entry, uint64_t bytes) {
  if (!entry.offset) return broken("data without an offset");
  if (*entry.offset >= x_toc_offset) {
    return broken("offset " + std::to_string(*entry.offset) + " is not before the TOC at " +
                  std::to_string(x_toc_offset));
  }
  x_places.push_back({*entry.offset, entry.inner_offset, bytes});
  return {};
}

Result<void> ChunkPlaces::resolve(std::vector<Chunk>& chunks, const LayerLimits& limits) {
  std::sort(x_places.begin(), x_places.end());
  for (size_t i = 1; i < x_places.size(); ++i) {
    const Place& before = x_places[i - 1];
    if (x_places[i].offset == before.offset &&
        x_places[i].inner_offset < before.inner_offset + before.bytes) {
      return broken("two chunks claim the same bytes of the gzip member at blob offset " +
                    std::to_string(before.offset));
    }
  }
  std::vector<uint64_t> members;  // ascending
  for (const Place& place : x_places) {
    if (place.inner_offset == 0) members.push_back(place.offset);
  }
  for (Chunk& chunk : chunks) {
    const auto next = std::upper_bound(members.begin(), members.end(), chunk.blob_offset);
    chunk.blob_bytes = (next == members.end() ? x_toc_offset : *next) - chunk.blob_offset;
    if (chunk.blob_bytes > limits.max_chunk_bytes) {
      return make_error(Errc::kNoSpace,
                        "gzip member at blob offset " + std::to_string(chunk.blob_offset) +
                            " has " + std::to_string(chunk.blob_bytes) + " bytes, over the limit");
    }
  }
  return {};
}

Result<ChunkedFile> ChunkedFile::start(const TocEntry& reg, const LayerLimits& limits,
                                       ChunkPlaces& places) {
  ChunkedFile file;
  file.x_bytes = reg.size;
  TRY(digest, optional_digest(reg.digest));
  file.x_digest = digest;
  if (reg.size > limits.max_file_bytes) return make_error(Errc::kNoSpace, "size is over the limit");
  if (reg.chunk_offset != 0) return broken("first chunk does not start at 0");
  if (reg.size == 0 && reg.chunk_size != 0) return broken("chunk of an empty file");
  if (reg.size != 0) TRY(file.add(reg, limits, places));
  return file;
}

Result<void> ChunkedFile::add(const TocEntry& entry, const LayerLimits& limits,
                              ChunkPlaces& places) {
  if (entry.chunk_offset != x_covered) {
    return broken("chunkOffset " + std::to_string(entry.chunk_offset) +
                  " does not follow the chunk before, which ends at " + std::to_string(x_covered));
  }
  const uint64_t rest = x_bytes - x_covered;
  const uint64_t bytes = entry.chunk_size == 0 ? rest : entry.chunk_size;
  if (bytes == 0 || bytes > rest)
    return broken("chunk reaches past the file's size of " + std::to_string(x_bytes));
  const auto decoded = checked_add(entry.inner_offset, bytes);
  if (!decoded || *decoded > limits.max_chunk_bytes) {
    return make_error(Errc::kNoSpace, "chunk ends over " + std::to_string(limits.max_chunk_bytes) +
                                          " bytes into its gzip member");
  }
  TRY(places.add(entry, bytes));
  TRY(digest, optional_digest(entry.chunk_digest));
  Chunk chunk;
  chunk.blob_offset = *entry.offset;
  chunk.inner_offset = entry.inner_offset;
  chunk.bytes = bytes;
  chunk.codec = Codec::kGzip;
  chunk.digest = digest;
  x_chunks.push_back(chunk);
  x_covered += bytes;
  return {};
}

Result<void> ChunkedFile::check_digests() {
  if (x_chunks.size() == 1) {
    if (x_chunks[0].digest.is_zero()) x_chunks[0].digest = x_digest;
    if (!x_digest.is_zero() && x_chunks[0].digest != x_digest) {
      return make_error(Errc::kCorruption, "digest and chunkDigest of the only chunk differ");
    }
  }
  for (const Chunk& chunk : x_chunks) {
    if (chunk.digest.is_zero()) return broken("chunk without a digest");
  }
  return {};
}

Result<void> ChunkedFile::finish(LayerBuilder& builder, uint32_t chunk_bytes) {
  if (x_covered != x_bytes) {
    return broken("chunks cover " + std::to_string(x_covered) + " of " + std::to_string(x_bytes) +
                  " bytes");
  }
  TRY(check_digests());
  if (x_chunks.empty()) return {};
  if (x_chunks.size() == 1 || !chunks_are_extents(x_chunks, chunk_bytes)) {
    Extent whole;
    whole.bytes = x_bytes;
    whole.identity = x_chunks.size() == 1 ? x_chunks[0].digest : identity_of_chunks(x_chunks);
    return builder.add_extent(whole, x_chunks);
  }
  uint64_t file_offset = 0;
  for (const Chunk& chunk : x_chunks) {
    Extent extent;
    extent.identity = chunk.digest;
    extent.file_offset = file_offset;
    extent.bytes = chunk.bytes;
    TRY(builder.add_extent(extent, std::span(&chunk, 1)));
    file_offset += chunk.bytes;
  }
  return {};
}

}  // namespace dedup
