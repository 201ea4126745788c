// The whole way of a plain layer, as a pull goes it: codec by the first bytes, Inflater, TarReader,
// ExtentHasher, LayerBuilder; and what comes out must survive the index file. The first two input
// bytes choose the split of the stream and whether header checksums are put right first, so that
// mutations get behind them.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "format/extent_hasher.h"
#include "format/inflate.h"
#include "format/layer_builder.h"
#include "format/layer_index_file.h"
#include "format/tar_reader.h"

namespace {

using namespace dedup;

constexpr uint32_t kChunkBytes = 4096;

void require(bool condition) {
  if (!condition) std::abort();
}

LayerLimits small_limits() {
  LayerLimits limits;
  limits.max_entries = 500;
  limits.max_metadata_bytes = 1 << 20;
  limits.max_file_bytes = 64 << 20;
  limits.max_uncompressed_bytes = 4 << 20;
  return limits;
}

class Layer final : public TarSink {
 public:
  Layer()
      : x_builder(kChunkBytes, small_limits()),
        x_hasher(kChunkBytes, [this](uint64_t offset, std::span<const std::byte> bytes, Digest id) {
          Extent extent;
          extent.identity = id;
          extent.file_offset = offset;
          extent.bytes = bytes.size();
          auto added = x_builder.add_extent(extent, {});
          require(added.ok());  // the hasher cuts what the builder takes
          return added;
        }) {}

  Result<void> on_entry(const Entry& entry) override {
    require(!x_open);
    x_open = true;
    x_is_file = entry.type == EntryType::kRegular;
    require(x_is_file || entry.size == 0);
    TRY(x_builder.add(entry));
    if (x_is_file) x_hasher.begin(entry.size);
    return {};
  }
  Result<void> on_data(uint64_t file_offset, std::span<const std::byte> bytes) override {
    require(x_open && x_is_file && !bytes.empty());
    auto taken = x_hasher.data(file_offset, bytes);
    require(taken.ok());  // in order and inside the size announced
    return taken;
  }
  Result<void> on_entry_end() override {
    require(x_open);
    x_open = false;
    return x_is_file ? x_hasher.end() : Result<void>();
  }

  LayerIndex finish() { return *x_builder.finish(); }

 private:
  LayerBuilder x_builder;
  ExtentHasher x_hasher;
  bool x_open = false;
  bool x_is_file = false;
};

void fix_checksums(Bytes& stream) {
  for (size_t at = 0; at + 512 <= stream.size(); at += 512) {
    const auto block = std::span(stream).subspan(at, 512);
    if (as_text(block.subspan(257, 5)) != "ustar") continue;
    std::fill_n(block.begin() + 148, 8, std::byte{' '});
    unsigned sum = 0;
    for (const std::byte byte : block) sum += std::to_integer<unsigned>(byte);
    char text[8];
    std::snprintf(text, sizeof(text), "%06o", sum);
    std::copy_n(std::as_bytes(std::span(text)).begin(), 7, block.begin() + 148);
  }
}

std::optional<LayerIndex> read_layer(std::span<const std::byte> stream, size_t step) {
  Layer layer;
  TarReader reader(layer, small_limits());
  Inflater inflater(detect_codec(stream), small_limits().max_uncompressed_bytes);
  const auto sink = [&reader](std::span<const std::byte> bytes) { return reader.feed(bytes); };
  while (!stream.empty()) {
    const Bytes piece(stream.begin(),
                      stream.begin() + static_cast<ptrdiff_t>(std::min(step, stream.size())));
    stream = stream.subspan(piece.size());
    if (!inflater.feed(piece, sink).ok()) return std::nullopt;
  }
  if (!inflater.finish().ok() || !reader.finish().ok()) return std::nullopt;
  return layer.finish();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto input = std::as_bytes(std::span(data, size));
  Bytes stream(input.begin() + 2, input.end());
  if ((data[1] & 1) != 0) fix_checksums(stream);
  const auto index = read_layer(stream, size_t{1} + data[0] * 7u);
  const auto whole = read_layer(stream, SIZE_MAX);
  require(index == whole);  // the split must not matter
  if (!index) return 0;
  const auto decoded = decode_layer_index(encode_layer_index(*index, {}));
  require(decoded.ok() && decoded->index == *index);
  return 0;
}
