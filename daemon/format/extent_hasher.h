// ExtentHasher: cuts the data of one regular file after another into extents and hashes them.
// Buffers one extent at most; data that arrives as a whole extent is not copied. An extent of zeros
// only is a hole and is not emitted. Pure; one thread at a time.
#pragma once

#include <functional>
#include <span>

#include "base/bytes.h"
#include "base/digest.h"
#include "base/result.h"

namespace dedup {

class ExtentHasher {
 public:
  // file_offset is a multiple of chunk_bytes; `bytes` are valid during the call; identity is their
  // sha256.
  using Sink = std::function<Result<void>(uint64_t file_offset, std::span<const std::byte> bytes,
                                          Digest identity)>;

  ExtentHasher(uint32_t chunk_bytes, Sink sink)
      : x_chunk_bytes(chunk_bytes), x_sink(std::move(sink)) {}

  // The next file has `file_bytes` bytes.
  void begin(uint64_t file_bytes);
  // Bytes [file_offset, +bytes.size()) of it; offsets grow, what is left out are zeros.
  //   errors  kInvalid: before earlier data or past the end of the file; the sink's.
  Result<void> data(uint64_t file_offset, std::span<const std::byte> bytes);
  // The file is complete.
  Result<void> end();

 private:
  Result<void> flush();
  Result<void> emit(uint64_t file_offset, std::span<const std::byte> bytes);
  uint64_t extent_bytes(uint64_t extent_offset) const;

  uint32_t x_chunk_bytes;
  Sink x_sink;
  uint64_t x_file_bytes = 0;
  uint64_t x_data_end = 0;       // of what was given so far
  uint64_t x_extent_offset = 0;  // of the extent in x_buffer
  Bytes x_buffer;                // its bytes so far, holes filled in
};

}  // namespace dedup
