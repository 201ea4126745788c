// Decompression of layer streams (gzip with many members, zstd with many frames, none) and of
// single chunks. Pure; one Inflater belongs to one thread at a time. gzip uses ISA-L; every gzip
// trailer (crc32, isize) is checked.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "base/bytes.h"
#include "base/result.h"
#include "format/layer_index.h"

namespace dedup {

// Codec by the first bytes of a blob: 1f 8b gzip, 28 b5 2f fd or a skippable frame zstd, else none.
Codec detect_codec(std::span<const std::byte> first_bytes);

// Streaming decoder.
class Inflater {
 public:
  // Receives decoded bytes, valid only during the call.
  using Sink = std::function<Result<void>(std::span<const std::byte>)>;

  // max_output_bytes: decoding more than this is kNoSpace (decompression bomb).
  Inflater(Codec codec, uint64_t max_output_bytes);
  ~Inflater();
  Inflater(Inflater&&) noexcept;

  // Decodes the next piece of the blob. Errors: kCorruption with the blob offset; the sink's own
  // error, unchanged.
  Result<void> feed(std::span<const std::byte> piece, const Sink& sink);
  // The blob ended: kCorruption when inside a member or frame. Trailing zero padding after gzip is
  // accepted.
  Result<void> finish();

 private:
  struct State;
  std::unique_ptr<State> x_state;
};

// Decodes one chunk: `stored` are the blob bytes [blob_offset, +blob_bytes), `out` receives exactly
// chunk.bytes bytes. Decoding stops as soon as they are there: what trails in the member is ignored
// (eStargz). Not verified here.
//   errors  kCorruption when the data is bad or too short.
Result<void> inflate_chunk(const Chunk& chunk, std::span<const std::byte> stored,
                           std::span<std::byte> out);

}  // namespace dedup
