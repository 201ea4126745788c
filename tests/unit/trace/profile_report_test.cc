#include "trace/profile_report.h"

#include <gtest/gtest.h>

#include "unit/trace/profiles.h"

namespace dedup {
namespace {

using test::fetched;
using test::profile_with;
using test::touched;

constexpr auto kReader = FetchCause::kReader;
constexpr auto kPrefetch = FetchCause::kPrefetch;
constexpr auto kBackground = FetchCause::kBackground;

// Prepared 1000 us before the start.
Profile trace_with(std::vector<ProfileEntry> entries, std::vector<ProfileFetch> fetches) {
  Profile trace = profile_with(std::move(entries));
  trace.prepared_us = 1000;
  trace.fetches = std::move(fetches);
  return trace;
}

std::vector<TouchOutcome> outcomes_of(const ProfileReport& report) {
  std::vector<TouchOutcome> outcomes;
  for (const TouchReport& touch : report.touches) outcomes.push_back(touch.outcome);
  return outcomes;
}

TEST(ProfileReport, SaysHowEachTouchFoundItsBytes) {
  const ProfileReport report = report_of(
      trace_with({touched(0, "/ahead", {0, 100}, 10), touched(0, "/late", {0, 100}, 20),
                  touched(0, "/miss", {0, 100}, 30), touched(0, "/miss", {500, 100}, 9000),
                  touched(0, "/cached", {0, 100}, 9000), touched(0, "/fill", {0, 100}, 9000)},
                 {fetched(0, "/ahead", {0, 100}, 900, kPrefetch),
                  fetched(0, "/late", {0, 100}, 1025, kPrefetch, 5),
                  fetched(0, "/miss", {0, 1000}, 1040, kReader, 10),
                  fetched(0, "/fill", {0, 100}, 2000, kBackground)}));
  EXPECT_EQ(outcomes_of(report),
            (std::vector{TouchOutcome::kAhead, TouchOutcome::kLate, TouchOutcome::kMiss,
                         TouchOutcome::kAlong, TouchOutcome::kPresent, TouchOutcome::kAhead}));
  EXPECT_EQ(report.outcomes, (std::array<uint64_t, 5>{1, 2, 1, 1, 1}));
  EXPECT_EQ(report.misses(), 1u);
  EXPECT_EQ(report.touches[3].fetch, 2u);
  EXPECT_EQ(report.touches[4].fetch, std::nullopt);
  EXPECT_EQ(report.wait_us, 15u);
}

// Whoever touches a range first had it fetched, also when the two clocks disagree about which
// was earlier; and whoever touched it before it came waited as well.
TEST(ProfileReport, TheFirstTouchOfAReadersFetchIsAMiss) {
  const ProfileReport report =
      report_of(trace_with({touched(0, "/a", {0, 10}, 30), touched(0, "/a", {10, 10}, 31),
                            touched(0, "/b", {0, 10}, 500), touched(0, "/b", {10, 10}, 501)},
                           {fetched(0, "/a", {0, 100}, 1040, kReader, 10),
                            fetched(0, "/b", {0, 100}, 1040, kReader, 10)}));
  EXPECT_EQ(outcomes_of(report), (std::vector{TouchOutcome::kMiss, TouchOutcome::kMiss,
                                              TouchOutcome::kMiss, TouchOutcome::kAlong}));
}

TEST(ProfileReport, OfSeveralFetchesTheWorstDecides) {
  const ProfileReport report = report_of(trace_with(
      {touched(0, "/a", {0, 300}, 30)},
      {fetched(0, "/a", {0, 100}, 900, kPrefetch), fetched(0, "/a", {100, 100}, 1040, kReader, 9),
       fetched(0, "/a", {200, 100}, 1050, kPrefetch, 3)}));
  EXPECT_EQ(report.touches[0].outcome, TouchOutcome::kMiss);
  EXPECT_EQ(report.touches[0].fetch, 1u);
}

TEST(ProfileReport, CountsBytesByCauseAndInVain) {
  const ProfileReport report = report_of(trace_with(
      {touched(0, "/a", {0, 100}, 30), touched(0, "/a", {150, 10}, 31)},
      {fetched(0, "/a", {50, 100}, 900, kPrefetch), fetched(0, "/never", {0, 7}, 901, kPrefetch),
       fetched(0, "/a", {0, 50}, 1040, kReader, 9),
       fetched(0, "/a", {150, 1000}, 1050, kBackground)}));
  EXPECT_EQ(report.touched_bytes, 110u);
  EXPECT_EQ(report.by(kPrefetch), (FetchTotals{2, 107, 57}));
  EXPECT_EQ(report.by(kReader), (FetchTotals{1, 50, 0}));
  EXPECT_EQ(report.by(kBackground), (FetchTotals{1, 1000, 990}));
  EXPECT_EQ(report.vain_bytes(), 57u);
  EXPECT_EQ(report.vain_ranges, 1u);
  EXPECT_EQ(report.touched_of_fetch, (std::vector<uint64_t>{50, 0, 50, 10}));
}

TEST(ProfileReport, FilesComeByFirstTouchThenByFirstFetch) {
  const ProfileReport report = report_of(
      trace_with({touched(0, "/b", {0, 100}, 30), touched(1, "/a", {0, 10}, 31),
                  touched(0, "/b", {100, 1}, 40)},
                 {fetched(1, "/z", {0, 5}, 1, kPrefetch), fetched(0, "/c", {0, 5}, 2, kBackground),
                  fetched(1, "/a", {0, 10}, 1040, kReader, 9)}));
  ASSERT_EQ(report.files.size(), 4u);
  EXPECT_EQ(report.files[0].path, "/b");
  EXPECT_EQ(report.files[0].first_us, 1030u);
  EXPECT_EQ(report.files[0].ranges, 2u);
  EXPECT_EQ(report.files[0].touched_bytes, 101u);
  EXPECT_EQ(report.files[1].path, "/a");
  EXPECT_EQ(report.files[1].layer, 1u);
  EXPECT_EQ(report.files[1].misses, 1u);
  EXPECT_EQ(report.files[1].wait_us, 9u);
  EXPECT_EQ(report.files[2].path, "/z");
  EXPECT_EQ(report.files[2].first_us, std::nullopt);
  EXPECT_EQ(report.files[2].fetched[static_cast<size_t>(FetchCause::kPrefetch)],
            (FetchTotals{1, 5, 5}));
  EXPECT_EQ(report.files[3].path, "/c");
}

TEST(ProfileReport, BytesCountOnceHoweverOftenTheyAreNamed) {
  const ProfileReport report = report_of(trace_with(
      {touched(0, "/a", {10, 10}, 1), touched(0, "/a", {0, 30}, 2), touched(0, "/a", {5, 20}, 3)},
      {fetched(0, "/a", {0, 15}, 9, kPrefetch), fetched(0, "/a", {0, 40}, 10, kReader)}));
  EXPECT_EQ(report.touched_bytes, 30u);
  EXPECT_EQ(report.touches[0].new_bytes, 10u);
  EXPECT_EQ(report.touches[1].new_bytes, 20u);
  EXPECT_EQ(report.touches[2].new_bytes, 0u);
  EXPECT_EQ(report.touched_of_fetch, (std::vector<uint64_t>{15, 15}));
}

// Lists want files whole and do not know how long they are.
TEST(ProfileReport, AWholeFileIsTouchedWholeAndOfNoKnownLength) {
  const ProfileReport report =
      report_of(trace_with({touched(0, "/a", {0, 0}, 1), touched(0, "/b", {0, 3}, 2)},
                           {fetched(0, "/a", {1000, 100}, 9, kPrefetch)}));
  EXPECT_EQ(report.touched_bytes, 3u);
  EXPECT_EQ(report.whole_files, 1u);
  EXPECT_EQ(report.vain_bytes(), 0u);
  EXPECT_EQ(report.touches[0].outcome, TouchOutcome::kAhead);
}

TEST(ProfileReport, HugeNumbersDoNotOverflow) {
  constexpr uint64_t kMax = uint64_t{1} << 53;
  std::vector<ProfileEntry> entries;
  std::vector<ProfileFetch> fetches;
  for (int i = 0; i < 3000; ++i) {
    entries.push_back(touched(0, "/" + std::to_string(i), {kMax, kMax}, kMax));
    fetches.push_back(fetched(0, "/" + std::to_string(i), {0, kMax}, kMax, kPrefetch, kMax));
  }
  const ProfileReport report = report_of(trace_with(std::move(entries), std::move(fetches)));
  EXPECT_EQ(report.touched_bytes, UINT64_MAX);
  EXPECT_EQ(report.vain_bytes(), UINT64_MAX);
  EXPECT_EQ(report.wait_us, UINT64_MAX);
}

// Many ranges across one another must not cost the square of their number.
TEST(ProfileReport, RangesAcrossOneAnotherAreCheap) {
  std::vector<ProfileEntry> entries;
  std::vector<ProfileFetch> fetches;
  constexpr uint64_t kCount = 100'000;
  for (uint64_t i = 0; i < kCount; ++i) {
    entries.push_back(i % 2 == 0 ? touched(0, "/a", {i * 10, 5}, i)
                                 : touched(0, "/a", {0, kCount * 10}, i));
    fetches.push_back(fetched(0, "/a", {(kCount - i) * 7, kCount * 7}, i, kReader));
  }
  const ProfileReport report = report_of(trace_with(std::move(entries), std::move(fetches)));
  EXPECT_EQ(report.touched_bytes, kCount * 10);
}

TEST(ProfileReport, PlainProfilesHaveTouchesAlone) {
  const Profile plain = profile_with({touched(0, "/a", {0, 10}, 30)});
  EXPECT_FALSE(is_trace(plain));
  const ProfileReport report = report_of(plain);
  EXPECT_EQ(report.outcomes, (std::array<uint64_t, 5>{1, 0, 0, 0, 0}));
  EXPECT_EQ(report.files[0].first_us, 30u);
  Profile trace = plain;
  trace.container = "c";
  EXPECT_TRUE(is_trace(trace));
}

}  // namespace
}  // namespace dedup
