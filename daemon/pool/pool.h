// Pool: every distinct extent of every layer on this node, once. Owns the segments, the catalogue
// and the fetcher. Owned by main; loop thread, blocking work goes to workers. `ensure` is the only
// way data comes in on demand; LayerWriter (layer_writer.h) the only way it comes in by a streaming
// pass.
//
//   DIRECTORY/index.db      catalogue            DIRECTORY/segments/  data, tables, states
//   DIRECTORY/layers/       index of each layer with its slots
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pool/fetcher.h"
#include "pool/layer_commit.h"

namespace dedup {

struct PoolOptions {
  std::string directory;
  uint32_t chunk_bytes = kDefaultChunkBytes;
  FetchLimits fetch;
  uint64_t readahead_bytes = 32ull << 20;    // see readahead.h
  uint64_t readaround_bytes = 256ull << 10;  // see pieces_behind
  uint64_t min_free_bytes =
      256ull << 20;        // the file system keeps so much; beyond it new layers are refused
  uint64_t max_bytes = 0;  // present data beyond which new layers are refused; 0: no limit
  // Segment fds an earlier worker opened before their mark (borrowed, valid as long as the pool).
  std::map<SegmentId, int> kept_fds;
};

struct CheckReport {
  uint64_t checked_pieces = 0;
  uint64_t checked_bytes = 0;
  uint64_t missing_bytes = 0;
  struct Bad {
    Digest digest;
    SegmentId segment = 0;
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };
  std::vector<Bad> bad;
};

struct PoolTotals {
  CatalogTotals catalog;
  uint64_t present_bytes = 0;
  uint64_t disk_bytes = 0;  // blocks the segment files occupy
  uint64_t free_bytes = 0;  // of the file system
  uint64_t complete_segments = 0;
};

class Pool {
 public:
  // Opens or creates the pool: sweeps what a death left half done (files no catalogue row names,
  // dead chunks), opens every segment; damaged ones cost only the images that use them. Blocking;
  // before the loop runs. Borrowed references outlive the pool.
  static Result<std::unique_ptr<Pool>> open(Ring& ring, Workers& workers, Log& log,
                                            BlobSource& source, PoolOptions options);
  virtual ~Pool() = default;

  virtual bool present(SegmentId segment, ByteRange range) const = 0;
  // A reader wants `range`, present or not: what it will want next may be fetched ahead of it.
  virtual void touch(SegmentId segment, ByteRange range) = 0;
  // "Make these bytes present and verified." See Fetcher::ensure. kNotFound for an unknown segment.
  virtual Task<Result<void>> ensure(SegmentId segment, ByteRange range, Priority priority) = 0;

  // For a door whose kernel takes every block that is no hole for present (cachefiles): from now on
  // segments are written in whole blocks (Segment::write_whole_blocks). Before any fetch and any
  // mount, blocking.
  //   unread  nothing reads the segments yet: what is not present becomes holes
  //   errors  kUnsupported: the file system cannot
  virtual Result<void> write_whole_blocks(bool unread) = 0;

  virtual std::shared_ptr<Segment> segment(SegmentId id) const = 0;  // null when unknown
  virtual std::vector<std::shared_ptr<Segment>> segments() const = 0;
  // A segment whose files were found damaged when the pool was opened: nothing can be read from it
  // or brought into it, and it goes with the last layer that uses it. An fd of its data file, -1
  // when there is none; nullopt: not lost.
  virtual std::optional<int> lost(SegmentId id) const = 0;
  virtual void on_complete(
      Fetcher::OnComplete action) = 0;  // after the states of a complete segment are durable
  virtual void on_fetched(Fetcher::OnFetched action) = 0;

  virtual Task<Result<std::optional<LayerRecord>>> find_layer(Digest layer) = 0;
  virtual Task<Result<PlacedLayer>> load_layer(Digest layer) = 0;
  // Adds a layer (lazy or streamed; see LayerPlan). The plan's segment number comes from
  // new_segment().
  virtual Task<Result<LayerRecord>> add_layer(LayerPlan plan) = 0;
  virtual SegmentId new_segment() = 0;
  // Takes a layer out; frees what only it used: punches chunks, removes empty segments. No mount
  // may use the layer.
  //   returns  bytes freed
  virtual Task<Result<uint64_t>> remove_layer(Digest layer) = 0;
  // True when every missing piece of the layer can be fetched by itself.
  virtual bool can_fill(const PlacedLayer& layer) const = 0;
  // Bytes of the layer's extents that are present.
  virtual uint64_t present_bytes(const PlacedLayer& layer) const = 0;

  // Segments that have missing pieces, and the states of all their pieces as of now, for a
  // streaming pass that could fill them (any thread may read it). A byte for each piece: the loop
  // waits for the copy, and a node may miss a million pieces.
  struct IncompleteSegment {
    std::shared_ptr<Segment> segment;
    std::vector<PieceState> states;
  };
  using MissingMap = std::map<SegmentId, IncompleteSegment>;
  virtual std::shared_ptr<const MissingMap> missing() const = 0;
  virtual void mark_present(SegmentId segment,
                            size_t piece) = 0;  // its verified bytes were written

  // Reads every present piece back and compares its digest. repair: damaged pieces become missing,
  // so the next read fetches them again; with whole blocks they are fetched at once, because a
  // hole is not made where a kernel may be reading. progress(checked, total) in bytes.
  virtual Task<Result<CheckReport>> check(bool repair,
                                          std::function<void(uint64_t, uint64_t)> progress) = 0;
  virtual Task<Result<PoolTotals>> totals() = 0;
  // New data may come in without being asked for: limits of disk and pool left room a moment ago.
  virtual bool has_space() = 0;
  virtual const FetchCounters& fetch_counters() const = 0;

  virtual Catalog& catalog() = 0;
  virtual const PoolOptions& options() const = 0;

  // Grows segments that a fail-closed stop had cut. After their marks are back and the door serves.
  virtual Task<Result<void>> restore_sizes() = 0;
  virtual Task<Result<void>> flush() = 0;  // makes all presence so far durable
  virtual Task<void> close() = 0;          // ends fetches, flushes
};

}  // namespace dedup
