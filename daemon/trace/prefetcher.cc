#include "trace/prefetcher.h"

#include <algorithm>

namespace dedup {
namespace {

// So far ahead neighbours are looked for: a directory's files are near one another in the blob, but
// not always touched one after the other.
constexpr uint64_t kPlanBytes = 16u << 20;
// So many pieces in a row that no list names are no accident.
constexpr unsigned kMinStrays = 8;

}  // namespace

void Prefetcher::add(PrefetchList wish) {
  if (wish.ranges.empty() || x_stop.cancelled()) return;
  auto list = std::make_shared<List>();
  list->wish = std::move(wish);
  const bool urgent = list->wish.priority != Priority::kBackground;
  if (urgent) {
    name_pieces(*list);
    x_judged.push_back(list);
  }
  (urgent ? x_urgent : x_idle).push_back(std::move(list));
  start_workers();
}

void Prefetcher::name_pieces(List& list) const {
  for (const PrefetchRange& wanted : list.wish.ranges) {
    const auto segment = x_pool.segment(wanted.segment);
    if (segment == nullptr) continue;
    list.segments.insert(wanted.segment);
    const auto pieces = segment->pieces_in(wanted.range);
    for (size_t i = pieces.first; i < pieces.last; ++i) list.pieces[{wanted.segment, i}] = false;
  }
}

void Prefetcher::fetched(const FetchRecord& record) {
  if (record.reason != FetchReason::kReader || x_judged.empty()) return;
  const auto segment = x_pool.segment(record.segment);
  const auto users = x_users.find(record.segment);
  if (segment == nullptr || (users != x_users.end() && users->second > 1)) return;
  const size_t piece = segment->pieces_in(record.range).first;
  const std::vector<ListPtr> judged = x_judged;
  for (const ListPtr& list : judged) {
    if (!list->segments.contains(record.segment)) continue;
    const bool fits = list->pieces.contains({record.segment, piece});
    ++(fits ? list->fits : list->strays);
    if (!fits) x_paused_until = std::chrono::steady_clock::now() + x_options.stray_pause;
    if (list->strays >= kMinStrays && list->strays > 2 * list->fits)
      give_up(list, make_error(Errc::kInvalid, "its containers read other files than it names"));
  }
}

void Prefetcher::used(const std::vector<SegmentId>& segments) {
  for (const SegmentId segment : segments) ++x_users[segment];
}

void Prefetcher::unused(const std::vector<SegmentId>& segments) {
  for (const SegmentId segment : segments) {
    const auto users = x_users.find(segment);
    if (users != x_users.end() && --users->second == 0) x_users.erase(users);
  }
}

void Prefetcher::drop(const Digest& owner) {
  const auto of_owner = [&owner](const ListPtr& list) {
    return list->wish.owner == owner && (list->dropped = true);
  };
  std::erase_if(x_urgent, of_owner);
  std::erase_if(x_idle, of_owner);
  std::erase_if(x_judged, of_owner);
}

std::deque<Prefetcher::ListPtr>* Prefetcher::next_lists() {
  if (x_stop.cancelled()) return nullptr;
  if (!x_urgent.empty()) return &x_urgent;
  return x_idle.empty() ? nullptr : &x_idle;
}

void Prefetcher::start_workers() {
  for (unsigned i = x_working; i < x_options.workers && may_begin(); ++i) {
    ++x_working;
    x_tasks.spawn(work());
  }
}

// Off `lists`, with reads planned, or none left to plan.
Prefetcher::ListPtr Prefetcher::take_next(std::deque<ListPtr>& lists) const {
  for (const ListPtr& list : lists) {
    if (list->planned.empty()) plan(*list);
  }
  const auto wanted_us = [](const ListPtr& list) {
    return list->planned.empty() ? 0 : list->planned.front().wanted_us;
  };
  const auto first = std::ranges::min_element(lists, {}, wanted_us);
  ListPtr list = std::move(*first);
  lists.erase(first);
  return list;
}

// A read is chosen only when it can begin: what is added meanwhile may be wanted earlier.
Task<void> Prefetcher::work() {
  while (may_begin()) {
    std::deque<ListPtr>* lists = next_lists();
    ListPtr list = take_next(*lists);
    Read read;
    if (!list->planned.empty()) {
      read = std::move(list->planned.front());
      list->planned.pop_front();
    }
    ++list->reads;
    if (!list->planned.empty() || list->next < list->wish.ranges.size()) lists->push_back(list);
    const uint64_t bytes = read.bytes;
    x_under_way += bytes;
    co_await wait_for_share(bytes);
    co_await wait_for_readers();
    co_await fetch(std::move(list), std::move(read));
    x_under_way -= bytes;
    start_workers();  // those who found too much under way
  }
  --x_working;
}

// As if the bytes went over a link of max_bytes_per_s.
Task<void> Prefetcher::wait_for_share(uint64_t bytes) {
  if (x_options.max_bytes_per_s == 0) co_return;
  using std::chrono::steady_clock;
  const auto now = steady_clock::now();
  const auto begin = std::max(now, x_share_free);
  const double seconds =
      static_cast<double>(bytes) / static_cast<double>(x_options.max_bytes_per_s);
  x_share_free = begin + std::chrono::duration_cast<steady_clock::duration>(
                             std::chrono::duration<double>(seconds));
  if (begin > now) co_await x_ring.sleep(begin - now, x_stop.token());
}

Task<void> Prefetcher::wait_for_readers() {
  for (auto now = std::chrono::steady_clock::now(); now < x_paused_until && !x_stop.cancelled();
       now = std::chrono::steady_clock::now())
    co_await x_ring.sleep(x_paused_until - now, x_stop.token());
}

// The next pieces to ask for; those of a segment are of one blob.
std::map<SegmentId, std::vector<Prefetcher::Wanted>> Prefetcher::take_pieces(List& list) const {
  std::map<SegmentId, std::vector<Wanted>> wanted;
  uint64_t bytes = 0;
  for (; list.next < list.wish.ranges.size() && bytes < kPlanBytes; ++list.next) {
    const PrefetchRange& range = list.wish.ranges[list.next];
    const auto segment = x_pool.segment(range.segment);
    if (segment == nullptr) continue;
    const auto pieces = segment->pieces_in(range.range);
    for (size_t i = pieces.first; i < pieces.last; ++i) {
      const Piece piece = segment->piece(i);
      if (segment->state(i) != PieceState::kMissing || !piece.has_random_access()) continue;
      if (std::exchange(list.pieces[{range.segment, i}], true)) continue;
      bytes += piece.chunk.blob_bytes;
      const ByteRange blob{piece.chunk.blob_offset, piece.chunk.blob_bytes};
      wanted[range.segment].push_back({blob, list.next, piece.range()});
    }
  }
  return wanted;
}

// The next ranges as reads, in the order in which each is wanted first.
void Prefetcher::plan(List& list) const {
  std::multimap<size_t, Read> reads;  // by place of their first piece
  for (auto& [segment, pieces] : take_pieces(list)) {
    std::ranges::sort(pieces, {}, [](const Wanted& one) { return one.blob.offset; });
    std::vector<ByteRange> blobs;
    for (const Wanted& piece : pieces) blobs.push_back(piece.blob);
    for (const CoalescedRead& group : coalesce(blobs, x_options.coalesce)) {
      Read read{{}, group.range.length, 0};
      size_t first = SIZE_MAX;
      for (size_t i = group.first; i < group.last; ++i) {
        read.pieces.push_back({segment, pieces[i].range});
        first = std::min(first, pieces[i].place);
      }
      read.wanted_us = list.wish.ranges[first].wanted_us;
      reads.emplace(first, std::move(read));
    }
  }
  for (auto& [place, read] : reads) list.planned.push_back(std::move(read));
}

Task<void> Prefetcher::fetch(ListPtr list, Read read) {
  if (!read.pieces.empty() && !x_pool.has_space())
    give_up(list, make_error(Errc::kNoSpace, "the disk is as full as the pool may make it"));
  if (!list->dropped && !x_stop.cancelled()) {
    TaskScope fetches;
    for (const PrefetchRange& piece : read.pieces) fetches.spawn(fetch_one(list, piece));
    co_await fetches.join();
    if (!list->dropped) list->bytes += read.bytes;
  }
  if (--list->reads > 0 || !list->planned.empty() || list->next < list->wish.ranges.size())
    co_return;
  std::erase(x_judged, list);
  if (list->bytes > 0)
    x_log.info("prefetched", {{"list", list->wish.name}, {"bytes", list->bytes}});
}

Task<void> Prefetcher::fetch_one(ListPtr list, PrefetchRange piece) {
  const auto outcome = co_await x_pool.ensure(piece.segment, piece.range, list->wish.priority);
  if (!outcome.ok() && !x_stop.cancelled()) give_up(list, outcome.error());
}

void Prefetcher::give_up(const ListPtr& list, const Error& error) {
  if (std::exchange(list->dropped, true)) return;
  list->planned.clear();
  std::erase(x_urgent, list);
  std::erase(x_idle, list);
  std::erase(x_judged, list);
  x_log.warn("prefetch given up", {{"list", list->wish.name}, {"error", error}});
}

void Prefetcher::stop() {
  x_stop.cancel();
  x_urgent.clear();
  x_idle.clear();
  x_judged.clear();
}

Task<void> Prefetcher::close() {
  co_await x_tasks.join();
}

std::vector<PrefetchRange> before_landmark(const Segment& segment, ByteRange blob) {
  std::vector<std::pair<uint64_t, PrefetchRange>> wanted;  // by offset in the blob
  for (size_t i = 0; i < segment.piece_count(); ++i) {
    const Piece piece = segment.piece(i);
    if (piece.chunk.blob_offset < blob.end() && piece.has_random_access())
      wanted.push_back({piece.chunk.blob_offset, {segment.id(), piece.range()}});
  }
  std::ranges::stable_sort(wanted, {}, [](const auto& one) { return one.first; });
  std::vector<PrefetchRange> ranges;
  for (const auto& [offset, range] : wanted) ranges.push_back(range);
  return ranges;
}

}  // namespace dedup
