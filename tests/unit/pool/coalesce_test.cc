#include "pool/coalesce.h"

#include <gtest/gtest.h>

namespace dedup {
namespace {

struct Case {
  const char* name;
  std::vector<ByteRange> wanted;
  std::vector<CoalescedRead> reads;
};

constexpr CoalesceLimits kLimits{.max_gap_bytes = 10, .max_read_bytes = 100};

TEST(Coalesce, Tables) {
  const Case cases[] = {
      {"nothing", {}, {}},
      {"one", {{5, 7}}, {{{5, 7}, 0, 1}}},
      {"touching", {{0, 10}, {10, 10}}, {{{0, 20}, 0, 2}}},
      {"gap of the limit", {{0, 10}, {20, 5}}, {{{0, 25}, 0, 2}}},
      {"gap one larger", {{0, 10}, {21, 5}}, {{{0, 10}, 0, 1}, {{21, 5}, 1, 2}}},
      {"equal ranges", {{3, 9}, {3, 9}, {3, 9}}, {{{3, 9}, 0, 3}}},
      {"inside another", {{0, 50}, {10, 5}, {48, 10}}, {{{0, 58}, 0, 3}}},
      {"up to the size limit", {{0, 60}, {60, 40}}, {{{0, 100}, 0, 2}}},
      {"one byte over the limit", {{0, 60}, {60, 41}}, {{{0, 60}, 0, 1}, {{60, 41}, 1, 2}}},
      {"a larger piece is one read", {{0, 500}, {500, 1}}, {{{0, 500}, 0, 1}, {{500, 1}, 1, 2}}},
      {"what lies inside a larger piece joins it", {{0, 500}, {100, 50}}, {{{0, 500}, 0, 2}}},
      {"ends of the number range",
       {{UINT64_MAX - 20, 5}, {UINT64_MAX - 10, 10}},
       {{{UINT64_MAX - 20, 20}, 0, 2}}},
  };
  for (const Case& one : cases) {
    const auto reads = coalesce(one.wanted, kLimits);
    ASSERT_EQ(reads.size(), one.reads.size()) << one.name;
    for (size_t i = 0; i < reads.size(); ++i) {
      EXPECT_EQ(reads[i].range, one.reads[i].range) << one.name << " read " << i;
      EXPECT_EQ(reads[i].first, one.reads[i].first) << one.name << " read " << i;
      EXPECT_EQ(reads[i].last, one.reads[i].last) << one.name << " read " << i;
    }
  }
}

// Whatever is wanted: every range lies in its read, reads are in order, and only a single piece may
// exceed the size limit.
TEST(Coalesce, CoversEverything) {
  uint64_t state = 1;
  for (int round = 0; round < 500; ++round) {
    std::vector<ByteRange> wanted;
    uint64_t offset = 0;
    for (int i = 0; i < 20; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      offset += (state >> 40) % 60;
      wanted.push_back({offset, 1 + (state >> 50) % 150});
    }
    size_t next = 0;
    for (const CoalescedRead& read : coalesce(wanted, kLimits)) {
      ASSERT_EQ(read.first, next);
      ASSERT_LT(read.first, read.last);
      uint64_t largest = 0;
      for (size_t i = read.first; i < read.last; ++i) {
        ASSERT_TRUE(read.range.contains(wanted[i]));
        largest = std::max(largest, wanted[i].length);
      }
      ASSERT_LE(read.range.length, std::max(kLimits.max_read_bytes, largest));
      next = read.last;
    }
    ASSERT_EQ(next, wanted.size());
  }
}

}  // namespace
}  // namespace dedup
