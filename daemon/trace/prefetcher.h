// Prefetcher: brings ranges of segments into the pool in the order in which containers are going to
// want them, before they ask. Every fetch of it gives way to blocked readers (Priority::kPrefetch).
// Owned by main; loop thread. What it was told is forgotten with its worker: a list is a wish, and
// who touches what it would have brought asks for itself.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "base/log.h"
#include "pool/pool.h"

namespace dedup {

struct PrefetchRange {
  SegmentId segment = 0;
  ByteRange range;
};

class Prefetcher {
 public:
  // workers: batches of 4 MiB under way at once, of all lists together; >= 1
  Prefetcher(Log& log, Pool& pool, unsigned workers)
      : x_log(log), x_pool(pool), x_workers(workers) {}

  // Fetches what is missing of `ranges`, first ones first; several lists take turns. Returns at
  // once. The rest of a list is dropped at its first range that cannot be had: its source is ill,
  // and whoever needs the bytes will try again.
  //   name  for the log
  void add(std::string name, std::vector<PrefetchRange> ranges);

  // Begins nothing more.
  void stop();
  // Waits, after stop(), for what is under way.
  Task<void> close();

 private:
  struct List {
    std::string name;
    std::vector<PrefetchRange> ranges;
    size_t next = 0;
    uint64_t bytes = 0;    // brought in
    unsigned batches = 0;  // under way
  };
  using ListPtr = std::shared_ptr<List>;

  void start_workers();
  Task<void> work();
  std::vector<PrefetchRange> take_batch(List& list) const;
  Task<void> fetch(ListPtr list, std::vector<PrefetchRange> batch);
  Task<void> fetch_one(List& list, PrefetchRange wanted);
  void end(const List& list) const;

  Log& x_log;
  Pool& x_pool;
  const unsigned x_workers;
  std::deque<ListPtr> x_lists;  // with ranges left
  unsigned x_working = 0;
  bool x_stopped = false;
  TaskScope x_tasks;
};

// What an eStargz layer wants prefetched: the pieces of its segment that the blob has before its
// prefetch landmark, in the order of the blob.
//   source  stargz-snapshotter docs/estargz.md, "Prefetch landmark"
std::vector<PrefetchRange> before_landmark(const Segment& segment, ByteRange blob);

}  // namespace dedup
