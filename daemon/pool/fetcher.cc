#include "pool/fetcher.h"

#include <time.h>

#include <algorithm>

#include "base/clock.h"
#include "format/inflate.h"
#include "pool/files.h"

namespace dedup {

// One missing piece somebody waits for.
struct Fetcher::Want {
  std::shared_ptr<Segment> segment;
  size_t index;
  Piece piece;
  Priority priority;
  FetchReason reason;
  bool started = false;
  bool refetched = false;
  uint64_t reader_since_ns = 0;  // a reader has waited since then; 0: none
  RunPtr run;                    // null: the piece is written by itself
  OneShot<Result<void>> done;

  Want(Ring& ring, std::shared_ptr<Segment> owner, size_t piece_index, Urgency urgency)
      : segment(std::move(owner)),
        index(piece_index),
        piece(segment->piece(piece_index)),
        priority(urgency.priority),
        reason(urgency.reason),
        done(ring) {}
  const Digest& blob() const { return segment->header().blob; }
  ByteRange blob_range() const { return {piece.chunk.blob_offset, piece.chunk.blob_bytes}; }
};

// The wants of one BlockRun: all present, or none. Ends with the last of them.
struct Fetcher::Run {
  BlockRun blocks;
  std::vector<WantPtr> wants;
  size_t settled = 0;
  Result<void> outcome;
};

namespace {

Result<void> decode(const Chunk& chunk, std::span<const std::byte> stored,
                    std::span<std::byte> content) {
  TRY(inflate_chunk(chunk, stored, content));
  if (sha256(content) == chunk.digest) return {};
  return make_error(Errc::kCorruption, "chunk " + chunk.digest.to_string() + " has another digest");
}

// Decodes, verifies and writes one piece, or leaves it with its run. On a worker.
Result<void> store_piece(const Chunk& chunk, std::span<const std::byte> stored,
                         const Segment& segment, uint64_t offset, BlockRun* run) {
  if (run != nullptr) {
    TRY(decode(chunk, stored, run->place_of({offset, chunk.bytes})));
    return run->arrived();
  }
  const auto memory = std::make_unique_for_overwrite<std::byte[]>(chunk.bytes);
  const std::span content(memory.get(), chunk.bytes);
  TRY(decode(chunk, stored, content));
  return write_exactly(segment.data_fd(), content, offset, "pool segment");
}

FetchReason reason_of(Priority priority) {
  switch (priority) {
    case Priority::kOnDemand:
      return FetchReason::kReader;
    case Priority::kPrefetch:
      return FetchReason::kPrefetch;
    case Priority::kBackground:
      break;
  }
  return FetchReason::kBackground;
}

Error wrong_length(uint64_t bytes, ByteRange range) {
  return make_error(Errc::kUnavailable, "got " + std::to_string(bytes) + " bytes instead of " +
                                            std::to_string(range.length));
}

}  // namespace

Fetcher::Fetcher(Ring& ring, Workers& workers, Log& log, BlobSource& source, FetchLimits limits,
                 FindAlternates find_alternates, OnComplete on_complete)
    : x_ring(ring),
      x_workers(workers),
      x_log(log),
      x_source(source),
      x_limits(limits),
      x_find_alternates(std::move(find_alternates)),
      x_on_complete(std::move(on_complete)) {}

Task<Result<void>> Fetcher::ensure(std::shared_ptr<Segment> segment, ByteRange range,
                                   Priority priority, std::optional<FetchReason> reason) {
  const Urgency urgency{priority, reason.value_or(reason_of(priority))};
  if (x_closed) co_return make_error(Errc::kCancelled, "the daemon is stopping");
  const Segment::PieceSpan span = segment->pieces_in(range);
  std::vector<WantPtr> wants;
  for (size_t i = span.first; i < span.last; ++i) {
    if (segment->state(i) != PieceState::kMissing) continue;
    if (segment->writes_whole_blocks()) {
      const Segment::PieceSpan run = segment->run_around(i);
      join_run(segment, run, urgency, wants);
      i = run.last - 1;
    } else {
      wants.push_back(join(segment, i, urgency));
    }
  }
  Result<void> outcome;
  for (const WantPtr& want : wants) {
    const Result<void>& result = co_await want->done.wait();
    if (outcome.ok() && !result.ok()) outcome = result;
  }
  co_return outcome;
}

Fetcher::WantPtr Fetcher::join(const std::shared_ptr<Segment>& segment, size_t piece,
                               Urgency urgency) {
  WantPtr& want = x_wants[{segment->id(), piece}];
  if (want == nullptr) {
    want = std::make_shared<Want>(x_ring, segment, piece, urgency);
    enqueue(want);
  } else if (!want->started && urgency.priority < want->priority) {
    want->priority = urgency.priority;
    want->reason = urgency.reason;
    x_queues[static_cast<size_t>(urgency.priority)].push_back(want);
    schedule_pump();  // it may run at once although its former priority had no slot
  }
  if (urgency.priority == Priority::kOnDemand && want->reader_since_ns == 0)
    want->reader_since_ns = monotonic_ns();
  return want;
}

void Fetcher::join_run(const std::shared_ptr<Segment>& segment, Segment::PieceSpan pieces,
                       Urgency urgency, std::vector<WantPtr>& wants) {
  RunPtr run;
  for (size_t i = pieces.first; i < pieces.last; ++i) {
    wants.push_back(join(segment, i, urgency));
    if (wants.back()->run != nullptr) continue;  // and so have the others
    if (run == nullptr) run = RunPtr(new Run{{segment, pieces}, {}, 0, {}});
    wants.back()->run = run;
    run->wants.push_back(wants.back());
  }
}

void Fetcher::enqueue(const WantPtr& want) {
  x_queues[static_cast<size_t>(want->priority)].push_back(want);
  x_queued[want->blob()].emplace(want->piece.chunk.blob_offset, want);
  schedule_pump();
}

// Once per turn of the loop, so that requests of one turn are coalesced.
void Fetcher::schedule_pump() {
  if (std::exchange(x_pump_scheduled, true)) return;
  x_ring.post([this] {
    x_pump_scheduled = false;
    pump();
  });
}

bool Fetcher::has_room(Priority priority) const {
  if (priority == Priority::kOnDemand)
    return x_active < x_limits.max_reads && x_active_bytes < x_limits.max_bytes;
  return x_active < x_limits.max_background_reads && x_active_bytes < x_limits.max_background_bytes;
}

Fetcher::WantPtr Fetcher::next_want() {
  for (size_t priority = 0; priority < kPriorityCount; ++priority) {
    if (!has_room(static_cast<Priority>(priority))) continue;
    auto& queue = x_queues[priority];
    while (!queue.empty()) {
      WantPtr want = std::move(queue.front());
      queue.pop_front();
      if (!want->started) return want;
    }
  }
  return nullptr;
}

void Fetcher::pump() {
  while (WantPtr want = next_want()) {
    if (!want->piece.has_random_access()) {
      want->started = true;
      auto& queued = x_queued[want->blob()];
      std::erase_if(queued, [&want](const auto& item) { return item.second == want; });
      x_tasks.spawn(settle(
          want, make_error(Errc::kNotFound, "layer " + want->blob().to_string() +
                                                " has no random access: pull its image again")));
      continue;
    }
    ByteRange read;
    auto wants = take_neighbours(want, read);
    ++x_active;
    x_active_bytes += read.length;
    x_tasks.spawn(run_read(read, std::move(wants), want->priority));
  }
}

// The queued wants that one read together with `want` serves; they count as started.
std::vector<Fetcher::WantPtr> Fetcher::take_neighbours(const WantPtr& want, ByteRange& read) {
  constexpr size_t kMaxNeighbours = 512;
  const CoalesceLimits& limits =
      want->priority == Priority::kOnDemand ? x_limits.coalesce : x_limits.background_coalesce;
  auto& queued = x_queued[want->blob()];
  // From the want itself: thousands of pieces of one packed member share an offset.
  auto begin = queued.lower_bound(want->piece.chunk.blob_offset);
  while (begin->second != want) ++begin;
  const uint64_t reach = limits.max_read_bytes;
  const uint64_t offset = want->piece.chunk.blob_offset;
  for (size_t n = 0;
       n < kMaxNeighbours && begin != queued.begin() && offset - std::prev(begin)->first < reach;
       ++n)
    --begin;
  std::vector<std::multimap<uint64_t, WantPtr>::iterator> candidates;
  std::vector<ByteRange> ranges;
  for (auto it = begin;
       it != queued.end() && candidates.size() < 2 * kMaxNeighbours && it->first < offset + reach;
       ++it) {
    candidates.push_back(it);
    ranges.push_back(it->second->blob_range());
  }
  std::vector<WantPtr> taken;
  for (const CoalescedRead& group : coalesce(ranges, limits)) {
    const auto is_want = [&](size_t i) { return candidates[i]->second == want; };
    bool ours = false;
    for (size_t i = group.first; i < group.last; ++i) ours = ours || is_want(i);
    if (!ours) continue;
    read = group.range;
    for (size_t i = group.first; i < group.last; ++i) {
      taken.push_back(candidates[i]->second);
      taken.back()->started = true;
      queued.erase(candidates[i]);
    }
    break;
  }
  if (queued.empty()) x_queued.erase(want->blob());
  return taken;
}

Task<void> Fetcher::run_read(ByteRange range, std::vector<WantPtr> wants, Priority priority) {
  const SegmentHeader& header = wants.front()->segment->header();
  auto bytes = co_await x_source.read(header.blob, header.blob_bytes, range, priority);
  if (bytes.ok() && bytes->size() != range.length) bytes = wrong_length(bytes->size(), range);
  std::vector<Result<void>> outcomes(wants.size());
  if (bytes.ok()) {
    const std::span<const std::byte> stored(*bytes);
    co_await x_workers.run(priority, [&wants, &outcomes, stored, range] {
      for (size_t i = 0; i < wants.size(); ++i) {
        const Piece& piece = wants[i]->piece;
        const auto part =
            stored.subspan(piece.chunk.blob_offset - range.offset, piece.chunk.blob_bytes);
        outcomes[i] = store_piece(piece.chunk, part, *wants[i]->segment, piece.offset,
                                  wants[i]->run ? &wants[i]->run->blocks : nullptr);
      }
    });
  } else {
    for (auto& outcome : outcomes) outcome = bytes.error();
  }
  --x_active;
  x_active_bytes -= range.length;
  for (size_t i = 0; i < wants.size(); ++i) x_tasks.spawn(settle(wants[i], std::move(outcomes[i])));
  schedule_pump();
}

Task<void> Fetcher::settle(WantPtr want, Result<void> outcome) {
  if (outcome.ok()) {
    x_counters.blob_bytes += want->piece.chunk.blob_bytes;
    settled(want, std::move(outcome));
    co_return;
  }
  const bool corrupt = outcome.error().code == Errc::kCorruption;
  if (corrupt) ++x_counters.digest_mismatches;
  if (corrupt && !want->refetched) {
    want->refetched = true;
    want->started = false;
    ++x_counters.retries;
    x_log.warn("chunk is wrong, fetching it again",
               {{"blob", want->blob().to_string()}, {"error", outcome.error()}});
    enqueue(want);
    co_return;
  }
  const bool local = outcome.error().code == Errc::kNoSpace || outcome.error().code == Errc::kIo;
  if (!local) outcome = co_await try_alternates(want, std::move(outcome).error());
  settled(want, std::move(outcome));
}

// Nobody hears of a piece before all of its run are written.
void Fetcher::settled(const WantPtr& want, Result<void> outcome) {
  const RunPtr run = want->run;
  if (run == nullptr) return finish(want, std::move(outcome));
  if (run->outcome.ok()) run->outcome = std::move(outcome);
  if (++run->settled < run->wants.size()) return;
  for (const WantPtr& one : std::exchange(run->wants, {})) finish(one, run->outcome);
}

Task<Result<void>> Fetcher::try_alternates(WantPtr want, Error first) {
  auto alternates = co_await x_workers.run(
      want->priority, [&] { return x_find_alternates(want->segment->id(), want->piece); });
  for (const AlternateChunk& other : alternates) {
    const ByteRange range{other.chunk.blob_offset, other.chunk.blob_bytes};
    ++x_counters.retries;
    auto bytes = co_await x_source.read(other.blob, other.blob_bytes, range, want->priority);
    if (!bytes.ok() || bytes->size() != range.length) continue;
    const std::span<const std::byte> stored(*bytes);
    Chunk chunk = other.chunk;
    chunk.digest = want->piece.chunk.digest;
    auto outcome = co_await x_workers.run(want->priority, [&] {
      return store_piece(chunk, stored, *want->segment, want->piece.offset,
                         want->run ? &want->run->blocks : nullptr);
    });
    if (outcome.ok()) co_return outcome;
  }
  co_return first;
}

void Fetcher::finish(const WantPtr& want, Result<void> outcome) {
  x_wants.erase({want->segment->id(), want->index});
  if (outcome.ok()) {
    ++x_counters.pieces;
    const bool was_complete = want->segment->complete();
    // A removal meanwhile has made the piece dead, its bytes are punched.
    if (want->segment->state(want->index) == PieceState::kMissing)
      want->segment->set_present(want->index);
    if (!was_complete && want->segment->complete()) x_on_complete(want->segment);
    if (x_on_fetched) {
      const uint64_t now_ns = monotonic_ns();
      const uint64_t since_ns = want->reader_since_ns;
      x_on_fetched({want->segment->id(), want->piece.range(), want->reason, now_ns,
                    since_ns == 0 ? 0 : std::max<uint64_t>(now_ns - since_ns, 1)});
    }
  } else {
    ++x_counters.failures;
    x_log.warn("chunk cannot be had", {{"segment", want->segment->id()},
                                       {"offset", want->piece.offset},
                                       {"blob", want->blob().to_string()},
                                       {"error", outcome.error()}});
  }
  want->done.set(std::move(outcome));
}

Task<void> Fetcher::close() {
  x_closed = true;
  co_await x_tasks.join();
}

}  // namespace dedup
