#include "pool/layer_commit.h"

#include <algorithm>
#include <optional>

#include "base/bytes.h"
#include "format/layer_index_file.h"
#include "pool/files.h"

namespace dedup {
namespace {

constexpr uint64_t kMaxIndexFileBytes = 4ull << 30;

struct ExtentUse {
  const Extent* extent = nullptr;  // any of those with this identity: they have the same bytes
  uint64_t uses = 0;
  std::optional<Slot> known;  // where the pool has it already
  Slot slot;
};

struct ExtentUses {
  // Distinct extents in file order, so that slots of one directory's files lie side by side.
  std::vector<ExtentUse> distinct;
  std::vector<uint32_t> of_extent;  // parallel to LayerIndex::extents, into distinct
  // distinct by identity, the order of the catalogue's index: neighbours in it share a page, which
  // is then read and changed only once.
  std::vector<uint32_t> sorted;
};

ExtentUses collect_uses(const LayerIndex& index) {
  ExtentUses uses;
  uses.of_extent.reserve(index.extents.size());
  std::unordered_map<Digest, uint32_t> numbers(index.extents.size());
  for (const Extent& extent : index.extents) {
    const auto next = static_cast<uint32_t>(uses.distinct.size());
    const auto [at, first] = numbers.try_emplace(extent.identity, next);
    if (first) {
      uses.distinct.emplace_back().extent = &extent;
      uses.sorted.push_back(next);
    }
    ++uses.distinct[at->second].uses;
    uses.of_extent.push_back(at->second);
  }
  std::sort(uses.sorted.begin(), uses.sorted.end(), [&](uint32_t a, uint32_t b) {
    return uses.distinct[a].extent->identity < uses.distinct[b].extent->identity;
  });
  return uses;
}

std::string segments_directory(const std::string& directory) {
  return directory + "/segments";
}

// Pieces of an extent at `slot`, in offset order. A streamed extent is one piece without random
// access.
void append_pieces(const LayerIndex& index, const Extent& extent, Slot slot,
                   std::vector<Piece>& pieces) {
  if (extent.chunk_count == 0) {
    Piece piece{slot.offset, {}};
    piece.chunk.bytes = extent.bytes;
    piece.chunk.digest = extent.identity;
    pieces.push_back(piece);
    return;
  }
  uint64_t offset = slot.offset;
  for (uint32_t i = 0; i < extent.chunk_count; ++i) {
    const Chunk& chunk = index.chunks[extent.first_chunk + i];
    pieces.push_back({offset, chunk});
    offset += chunk.bytes;
  }
}

class Commit {
 public:
  Commit(Catalog& catalog, const std::string& directory, LayerPlan plan)
      : x_catalog(catalog),
        x_directory(directory),
        x_plan(std::move(plan)),
        x_uses(collect_uses(x_plan.index)) {}

  Result<CommittedLayer> run() {
    TRY(transaction, x_catalog.database().begin());
    TRY(find_known());
    TRY(place());
    TRY(same, write_index());
    // A directory with the very content of an imported one is that layer.
    if (same) return CommittedLayer{*same, {}};
    TRY(reference());
    TRY(write_segment());
    TRY(transaction.commit());
    auto slots = std::make_shared<std::vector<Slot>>(std::move(x_slots));
    return CommittedLayer{
        x_plan.record, {std::make_shared<LayerIndex>(std::move(x_plan.index)), std::move(slots)}};
  }

 private:
  Result<void> find_known() {
    for (const uint32_t number : x_uses.sorted) {
      ExtentUse& use = x_uses.distinct[number];
      TRY(known, x_catalog.find_chunk(use.extent->identity, use.extent->bytes));
      use.known = known;
    }
    return {};
  }

  // Gives every distinct extent its slot: where the pool has it, where the stream wrote it, or a
  // new place.
  Result<void> place() {
    for (ExtentUse& use : x_uses.distinct) {
      const auto streamed = x_plan.streamed.find(use.extent->identity);
      const bool ours =
          streamed != x_plan.streamed.end() && streamed->second.segment == x_plan.segment;
      if (use.known) {
        use.slot = *use.known;
        if (ours)
          add_pieces(*use.extent, streamed->second,
                     PieceState::kDead);  // another layer won the race
      } else if (x_plan.is_streamed) {
        if (!ours)
          return make_error(Errc::kUnavailable,
                            "a chunk was removed while the layer was read: pull again");
        use.slot = streamed->second;
        add_pieces(*use.extent, use.slot, PieceState::kPresent);
      } else {
        use.slot = {x_plan.segment, x_data_bytes};
        add_pieces(*use.extent, use.slot, PieceState::kMissing);
      }
    }
    x_slots.reserve(x_uses.of_extent.size());
    for (const uint32_t number : x_uses.of_extent) x_slots.push_back(x_uses.distinct[number].slot);
    return {};
  }

  void add_pieces(const Extent& extent, Slot slot, PieceState state) {
    append_pieces(x_plan.index, extent, slot, x_pieces);
    x_states.resize(x_pieces.size(), state);
    x_data_bytes = std::max(x_data_bytes, round_up(slot.offset + extent.bytes, kPoolBlockBytes));
  }

  // Returns the layer that is there already under the name made from the index; an error when a
  // given name is taken.
  Result<std::optional<LayerRecord>> write_index() {
    const Bytes file = encode_layer_index(x_plan.index, x_slots);
    const bool named_here = x_plan.record.digest.is_zero();
    if (named_here) x_plan.record.digest = sha256(file);
    TRY(existing, x_catalog.layer(x_plan.record.digest));
    if (existing && named_here) return existing;
    if (existing)
      return make_error(Errc::kExists,
                        "layer " + x_plan.record.digest.to_string() + " is in the pool already");
    TRY(write_file_durably(layer_index_path(x_directory, x_plan.record.digest), file));
    return std::optional<LayerRecord>();
  }

  Result<void> reference() {
    LayerRecord& record = x_plan.record;
    record.segment = x_pieces.empty() ? kZeroSegment : x_plan.segment;
    record.data_bytes = 0;
    for (const Extent& extent : x_plan.index.extents) record.data_bytes += extent.bytes;
    if (!x_pieces.empty()) TRY(x_catalog.insert_segment(segment_header()));
    TRY(id, x_catalog.insert_layer(record));
    std::vector<Catalog::ChunkUse> chunks;
    chunks.reserve(x_uses.sorted.size());
    for (const uint32_t number : x_uses.sorted) {
      const ExtentUse& use = x_uses.distinct[number];
      chunks.push_back({use.extent->identity, use.extent->bytes, use.slot, use.uses});
    }
    return x_catalog.reference_chunks(id, chunks);
  }

  SegmentHeader segment_header() const {
    return {x_plan.segment, x_plan.record.digest, x_plan.record.blob_bytes, x_data_bytes};
  }

  Result<void> write_segment() {
    if (x_pieces.empty()) return {};
    std::vector<size_t> order(x_pieces.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(),
              [this](size_t a, size_t b) { return x_pieces[a].offset < x_pieces[b].offset; });
    std::vector<Piece> pieces;
    std::vector<PieceState> states;
    for (const size_t i : order) {
      pieces.push_back(x_pieces[i]);
      states.push_back(x_states[i]);
    }
    return Segment::create(segments_directory(x_directory), segment_header(), pieces, states);
  }

  Catalog& x_catalog;
  const std::string& x_directory;
  LayerPlan x_plan;
  ExtentUses x_uses;
  std::vector<Slot> x_slots;
  std::vector<Piece> x_pieces;
  std::vector<PieceState> x_states;
  uint64_t x_data_bytes = 0;
};

}  // namespace

Result<CommittedLayer> commit_layer(Catalog& catalog, const std::string& directory,
                                    LayerPlan plan) {
  return Commit(catalog, directory, std::move(plan)).run();
}

std::string layer_index_path(const std::string& directory, Digest layer) {
  return directory + "/layers/" + layer.hex() + ".index";
}

Result<PlacedLayer> load_layer_index(const std::string& directory, Digest layer) {
  const std::string path = layer_index_path(directory, layer);
  TRY(file, read_file(path, kMaxIndexFileBytes));
  auto decoded = decode_layer_index(file);
  if (!decoded.ok()) return std::move(decoded).error().with(path);
  return PlacedLayer{std::make_shared<LayerIndex>(std::move(decoded->index)),
                     std::make_shared<std::vector<Slot>>(std::move(decoded->slots))};
}

}  // namespace dedup
