// Prefetcher: brings ranges of segments into the pool in the order in which containers are going to
// want them, before they ask. Every fetch of it gives way to blocked readers (Priority::kPrefetch),
// and what is only to fill the rest of an image gives way to that (kBackground). Owned by main;
// loop thread. What it was told is forgotten with its worker: a list is a wish, and who touches
// what it would have brought asks for itself.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/log.h"
#include "io/sync.h"
#include "pool/pool.h"

namespace dedup {

struct PrefetchRange {
  SegmentId segment = 0;
  ByteRange range;
  uint64_t wanted_us = 0;  // after the container's start; what is wanted first comes first
};

struct PrefetchList {
  std::string name;  // for the log
  Digest owner;      // drop() takes its lists back
  std::vector<PrefetchRange> ranges;
  Priority priority = Priority::kPrefetch;
};

struct PrefetchOptions {
  unsigned workers = 12;  // reads under way at once, of all lists together; >= 1
  // How pieces become reads; a short one is soon over when a reader needs the link.
  CoalesceLimits coalesce{64u << 10, 1u << 20};
  uint64_t max_bytes_per_s = 0;  // compressed, of all lists together; 0: no limit
  // Compressed, of the reads under way: several times what a link carries in a round trip, and no
  // more, as a reader that comes now shares the link with them.
  uint64_t max_bytes_under_way = 2u << 20;
  // Nothing more is begun for so long after a reader fetched what no list names: those of another
  // container than the list's come one after the other, and one that differs costs little.
  std::chrono::milliseconds stray_pause{100};
};

class Prefetcher {
 public:
  Prefetcher(Ring& ring, Log& log, Pool& pool, PrefetchOptions options)
      : x_ring(ring), x_log(log), x_pool(pool), x_options(options) {}

  // Fetches what is missing of the list, first ranges first; of lists of one priority the one that
  // has the range wanted earliest, and where that is the same they take turns.
  // Returns at once. The rest of a list is dropped at its first range that cannot be had: its
  // source is ill, and whoever needs the bytes will try again; and when the disk is as full as the
  // pool may make it.
  void add(PrefetchList list);
  // A piece has come in. When readers fetch for themselves, and mostly what the list does not name,
  // the list is of other containers than these: it is dropped, as its bytes take the link from
  // theirs. Until that is clear, they have the link to themselves.
  void fetched(const FetchRecord& record);
  // Containers of one more image, or of one less, read those segments. Where several do, a reader's
  // fetch says nothing about the list of one of them.
  void used(const std::vector<SegmentId>& segments);
  void unused(const std::vector<SegmentId>& segments);
  // Begins nothing more of that owner.
  void drop(const Digest& owner);

  // Begins nothing more.
  void stop();
  // Waits, after stop(), for what is under way.
  Task<void> close();

 private:
  // Neighbours in one blob, fetched together.
  struct Read {
    std::vector<PrefetchRange> pieces;
    uint64_t bytes = 0;      // compressed
    uint64_t wanted_us = 0;  // the first of them
  };
  struct Wanted {
    ByteRange blob;
    size_t place = 0;  // in the list
    ByteRange range;   // of the segment
  };
  struct List {
    PrefetchList wish;
    size_t next = 0;
    std::deque<Read> planned;  // of the ranges before `next`
    // Pieces of its ranges; present or asked for already: true. Of a background list those alone.
    std::map<std::pair<SegmentId, size_t>, bool> pieces;
    std::set<SegmentId> segments;
    unsigned fits = 0;    // pieces that readers fetched before it
    unsigned strays = 0;  // pieces of its segments that readers fetched and it does not name
    uint64_t bytes = 0;   // brought in, compressed
    unsigned reads = 0;   // under way
    bool dropped = false;
  };
  using ListPtr = std::shared_ptr<List>;

  void name_pieces(List& list) const;
  std::deque<ListPtr>* next_lists();
  ListPtr take_next(std::deque<ListPtr>& lists) const;
  bool may_begin() {
    return x_under_way < x_options.max_bytes_under_way && next_lists() != nullptr;
  }
  void start_workers();
  Task<void> work();
  Task<void> wait_for_share(uint64_t bytes);
  Task<void> wait_for_readers();
  void plan(List& list) const;
  std::map<SegmentId, std::vector<Wanted>> take_pieces(List& list) const;
  Task<void> fetch(ListPtr list, Read read);
  Task<void> fetch_one(ListPtr list, PrefetchRange piece);
  void give_up(const ListPtr& list, const Error& error);

  Ring& x_ring;
  Log& x_log;
  Pool& x_pool;
  const PrefetchOptions x_options;
  std::deque<ListPtr> x_urgent;   // with ranges left
  std::vector<ListPtr> x_judged;  // of x_urgent, and those whose last batches are under way
  std::deque<ListPtr> x_idle;     // of Priority::kBackground
  std::map<SegmentId, unsigned> x_users;
  uint64_t x_under_way = 0;  // bytes of reads
  std::chrono::steady_clock::time_point x_share_free{};
  std::chrono::steady_clock::time_point x_paused_until{};
  unsigned x_working = 0;
  CancelSource x_stop;
  TaskScope x_tasks;
};

// What an eStargz layer wants prefetched: the pieces of its segment that the blob has before its
// prefetch landmark, in the order of the blob. Any thread.
//   source  stargz-snapshotter docs/estargz.md, "Prefetch landmark"
std::vector<PrefetchRange> before_landmark(const Segment& segment, ByteRange blob);

}  // namespace dedup
