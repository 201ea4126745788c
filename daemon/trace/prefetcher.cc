#include "trace/prefetcher.h"

#include <algorithm>

namespace dedup {
namespace {

constexpr uint64_t kBatchBytes = 4u << 20;  // of the segment: asked for at once, so it is coalesced

}  // namespace

void Prefetcher::add(std::string name, std::vector<PrefetchRange> ranges) {
  if (ranges.empty() || x_stopped) return;
  x_lists.push_back(std::make_shared<List>(List{std::move(name), std::move(ranges)}));
  start_workers();
}

void Prefetcher::start_workers() {
  for (unsigned i = x_working; i < x_workers && !x_lists.empty(); ++i) {
    ++x_working;
    x_tasks.spawn(work());
  }
}

Task<void> Prefetcher::work() {
  while (!x_lists.empty() && !x_stopped) {
    ListPtr list = std::move(x_lists.front());
    x_lists.pop_front();
    std::vector<PrefetchRange> batch = take_batch(*list);
    if (list->next < list->ranges.size()) x_lists.push_back(list);
    co_await fetch(std::move(list), std::move(batch));
  }
  --x_working;
}

std::vector<PrefetchRange> Prefetcher::take_batch(List& list) const {
  std::vector<PrefetchRange> batch;
  for (uint64_t bytes = 0; list.next < list.ranges.size() && bytes < kBatchBytes; ++list.next) {
    const PrefetchRange& wanted = list.ranges[list.next];
    if (x_pool.present(wanted.segment, wanted.range)) continue;
    bytes += wanted.range.length;
    batch.push_back(wanted);
  }
  return batch;
}

Task<void> Prefetcher::fetch(ListPtr list, std::vector<PrefetchRange> batch) {
  ++list->batches;
  TaskScope fetches;
  for (const PrefetchRange& wanted : batch) fetches.spawn(fetch_one(*list, wanted));
  co_await fetches.join();
  if (--list->batches == 0 && list->next >= list->ranges.size()) end(*list);
}

Task<void> Prefetcher::fetch_one(List& list, PrefetchRange wanted) {
  const auto outcome = co_await x_pool.ensure(wanted.segment, wanted.range, Priority::kPrefetch);
  if (outcome.ok()) {
    list.bytes += wanted.range.length;
  } else if (!x_stopped && list.next < list.ranges.size()) {
    list.next = list.ranges.size();
    std::erase_if(x_lists, [&list](const ListPtr& one) { return one.get() == &list; });
    x_log.warn("prefetch given up", {{"list", list.name}, {"error", outcome.error()}});
  }
}

void Prefetcher::end(const List& list) const {
  x_log.info("prefetched", {{"list", list.name}, {"bytes", list.bytes}});
}

void Prefetcher::stop() {
  x_stopped = true;
  x_lists.clear();
}

Task<void> Prefetcher::close() {
  co_await x_tasks.join();
}

std::vector<PrefetchRange> before_landmark(const Segment& segment, ByteRange blob) {
  std::vector<std::pair<uint64_t, PrefetchRange>> wanted;  // by offset in the blob
  for (size_t i = 0; i < segment.piece_count(); ++i) {
    const Piece piece = segment.piece(i);
    const bool before = piece.chunk.blob_offset < blob.end() && piece.has_random_access();
    if (before && segment.state(i) == PieceState::kMissing)
      wanted.push_back({piece.chunk.blob_offset, {segment.id(), piece.range()}});
  }
  std::ranges::stable_sort(wanted, {}, [](const auto& one) { return one.first; });
  std::vector<PrefetchRange> ranges;
  for (const auto& [offset, range] : wanted) ranges.push_back(range);
  return ranges;
}

}  // namespace dedup
