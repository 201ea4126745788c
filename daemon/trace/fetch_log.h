// FetchLog: which pieces have come into the pool lately, and why: what a recorded start is compared
// with. Bounded. Owned by main; loop thread.
#pragma once

#include <deque>
#include <set>
#include <vector>

#include "pool/fetcher.h"

namespace dedup {

class FetchLog {
 public:
  explicit FetchLog(size_t max_records = 262'144) : x_max_records(max_records) {}

  void add(const FetchRecord& record) {
    if (x_records.size() == x_max_records) x_records.pop_front();
    x_records.push_back(record);
  }

  // What came since `since_ns` into these segments, in the order it came.
  std::vector<FetchRecord> since(uint64_t since_ns, const std::set<SegmentId>& segments) const {
    std::vector<FetchRecord> found;
    for (auto it = x_records.rbegin(); it != x_records.rend() && it->done_ns >= since_ns; ++it) {
      if (segments.contains(it->segment)) found.push_back(*it);
    }
    return {found.rbegin(), found.rend()};
  }

 private:
  size_t x_max_records;
  std::deque<FetchRecord> x_records;
};

}  // namespace dedup
