// Fetcher: brings missing pieces into segments: single flight per piece, neighbours of one blob
// coalesced into ranged reads, on-demand before prefetch before background, digest checked before a
// piece counts as present, one refetch from the next source when it is wrong. Owned by Pool; loop
// thread. Decoding, hashing and writing run on workers.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>

#include "base/log.h"
#include "io/sync.h"
#include "io/workers.h"
#include "pool/block_run.h"
#include "pool/coalesce.h"
#include "pool/segment.h"
#include "source/source.h"

namespace dedup {

struct FetchLimits {
  CoalesceLimits coalesce;
  // Of prefetch and background: nobody waits for their first byte, and what they ask for is known
  // far ahead.
  CoalesceLimits background_coalesce{64u << 10, 4u << 20};
  unsigned max_reads = 32;  // ranged reads in flight
  // Bytes asked for and not yet in the pool; one more read may start as long as there are fewer.
  uint64_t max_bytes = 32ull << 20;
  // Of them for prefetch and background: a blocked reader never waits for a slot.
  unsigned max_background_reads = 12;
  uint64_t max_background_bytes = 16ull << 20;
};

struct FetchCounters {
  uint64_t pieces = 0;      // fetched, verified and written
  uint64_t blob_bytes = 0;  // compressed bytes of those pieces, without gaps
  uint64_t failures = 0;    // pieces whose waiters got an error
  uint64_t retries = 0;     // pieces fetched a second time
  uint64_t digest_mismatches = 0;
};

enum class FetchReason : uint8_t {
  kReader,     // it came before all others
  kReadahead,  // a guess from what readers touch
  kPrefetch,
  kBackground,
};

// A piece that has come into the pool.
struct FetchRecord {
  SegmentId segment = 0;
  ByteRange range;  // of the segment
  FetchReason reason = FetchReason::kReader;
  uint64_t done_ns = 0;  // CLOCK_MONOTONIC
  uint64_t wait_ns = 0;  // a reader was blocked by it for so long; 0: nobody
};

// Another place that holds the bytes of a piece.
struct AlternateChunk {
  Digest blob;
  uint64_t blob_bytes = 0;
  Chunk chunk;
};

class Fetcher {
 public:
  // Looks (blocking, on a worker) for other blobs of which a piece can be made; asked only after a
  // failure.
  using FindAlternates = std::function<std::vector<AlternateChunk>(SegmentId, Piece)>;
  // A segment has just become complete (loop thread).
  using OnComplete = std::function<void(const std::shared_ptr<Segment>&)>;
  using OnFetched = std::function<void(const FetchRecord&)>;

  Fetcher(Ring& ring, Workers& workers, Log& log, BlobSource& source, FetchLimits limits,
          FindAlternates find_alternates, OnComplete on_complete);

  // Makes every piece of `segment` that overlaps `range` present; where the segment writes whole
  // blocks, the others of their runs, too.
  //   errors  kCorruption (digest wrong after one refetch), kNotFound, kUnavailable, kDenied,
  //   kNoSpace; the error of the
  //           first piece that failed. A later call tries again.
  //   threads loop thread; overlapping callers share one fetch.
  //   reason  for on_fetched; left out: as the priority says
  Task<Result<void>> ensure(std::shared_ptr<Segment> segment, ByteRange range, Priority priority,
                            std::optional<FetchReason> reason = std::nullopt);

  // Refuses new work with kCancelled and waits for what is queued and in flight.
  Task<void> close();

  // Told of every piece that comes in from now on (loop thread).
  void on_fetched(OnFetched action) { x_on_fetched = std::move(action); }

  const FetchCounters& counters() const { return x_counters; }

 private:
  struct Want;
  using WantPtr = std::shared_ptr<Want>;
  struct Run;
  using RunPtr = std::shared_ptr<Run>;

  struct Urgency {
    Priority priority;
    FetchReason reason;
  };
  WantPtr join(const std::shared_ptr<Segment>& segment, size_t piece, Urgency urgency);
  void join_run(const std::shared_ptr<Segment>& segment, Segment::PieceSpan pieces, Urgency urgency,
                std::vector<WantPtr>& wants);
  void enqueue(const WantPtr& want);
  void schedule_pump();
  void pump();
  bool has_room(Priority priority) const;
  WantPtr next_want();
  std::vector<WantPtr> take_neighbours(const WantPtr& want, ByteRange& read);
  Task<void> run_read(ByteRange range, std::vector<WantPtr> wants, Priority priority);
  Task<void> settle(WantPtr want, Result<void> outcome);
  Task<Result<void>> try_alternates(WantPtr want, Error first);
  void settled(const WantPtr& want, Result<void> outcome);
  void finish(const WantPtr& want, Result<void> outcome);

  Ring& x_ring;
  Workers& x_workers;
  Log& x_log;
  BlobSource& x_source;
  FetchLimits x_limits;
  FindAlternates x_find_alternates;
  OnComplete x_on_complete;
  OnFetched x_on_fetched;
  FetchCounters x_counters;
  TaskScope x_tasks;
  bool x_closed = false;
  bool x_pump_scheduled = false;
  unsigned x_active = 0;                                     // reads in flight
  uint64_t x_active_bytes = 0;                               // of them
  std::map<std::pair<SegmentId, size_t>, WantPtr> x_wants;   // queued or in flight
  std::array<std::deque<WantPtr>, kPriorityCount> x_queues;  // started wants are skipped when met
  std::unordered_map<Digest, std::multimap<uint64_t, WantPtr>>
      x_queued;  // by blob, then blob offset
};

}  // namespace dedup
