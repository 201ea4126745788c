#include "cli/time_axis.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace dedup {
namespace {

std::vector<uint64_t> every(uint64_t step_us, uint64_t count, uint64_t from_us = 0) {
  std::vector<uint64_t> events;
  for (uint64_t i = 0; i < count; ++i) events.push_back(from_us + i * step_us);
  return events;
}

std::vector<uint64_t> operator+(std::vector<uint64_t> a, const std::vector<uint64_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Later is never further left, the ends are at the ends, ticks keep their distance.
void expect_sound(const TimeAxis& axis, const std::vector<uint64_t>& events) {
  std::vector<uint64_t> sorted = events;
  std::ranges::sort(sorted);
  double last = 0;
  EXPECT_EQ(axis.x(0), 0);
  for (const uint64_t us : sorted) {
    EXPECT_GE(axis.x(us), last);
    EXPECT_LT(axis.x(us), TimeAxis::kWidth);
    last = axis.x(us);
  }
  EXPECT_NEAR(axis.x(axis.end_us()), TimeAxis::kWidth, 1e-6);
  EXPECT_NEAR(axis.x(UINT64_MAX), TimeAxis::kWidth, 1e-6);
  double before = -60;
  for (const TimeAxis::Tick& tick : axis.ticks()) {
    EXPECT_GE(tick.x, before + 60);
    EXPECT_LT(tick.x, TimeAxis::kWidth);
    before = tick.x;
  }
}

TEST(TimeAxis, IsLinearWhereThereAreNoPauses) {
  const auto events = every(10'000, 90);
  const TimeAxis axis(events);
  expect_sound(axis, events);
  EXPECT_TRUE(axis.pauses().empty());
  EXPECT_NEAR(axis.x(600'000) - axis.x(500'000), axis.x(200'000) - axis.x(100'000), 1e-6);
  const auto ticks = axis.ticks();
  ASSERT_GE(ticks.size(), 4u);
  EXPECT_EQ(ticks[0].label, "0 ms");
  EXPECT_EQ(ticks[1].label, "200 ms");
}

// An image that was prepared an hour before, and a program that touches something now and then.
TEST(TimeAxis, CutsLongPauses) {
  constexpr uint64_t kHour = 3'600'000'000;
  const auto events =
      every(10'000, 50) + every(10'000, 100, kHour) + every(20'000'000, 3, kHour + 20'000'000);
  const TimeAxis axis(events);
  expect_sound(axis, events);
  ASSERT_EQ(axis.pauses().size(), 4u);
  EXPECT_EQ(axis.pauses()[0].length_us, kHour - 490'000);
  // What happens has nearly all of the width: 490 ms of 1480.
  EXPECT_NEAR(axis.x(490'000), 300, 20);
  EXPECT_NEAR(axis.x(kHour + 990'000) - axis.x(kHour), 590, 30);
}

TEST(TimeAxis, FewEventsAreNotCutToPieces) {
  const std::vector<uint64_t> events = {0, 10, 5'000'000, 5'000'100, 9'000'000};
  EXPECT_TRUE(TimeAxis(events).pauses().empty());
  expect_sound(TimeAxis(events), events);
  EXPECT_TRUE(TimeAxis(every(600'000, 40)).pauses().empty());
}

TEST(TimeAxis, HoldsWhateverAFileMaySay) {
  constexpr uint64_t kMax = uint64_t{1} << 54;
  for (const auto& events :
       {std::vector<uint64_t>{}, std::vector<uint64_t>{0}, std::vector<uint64_t>{kMax},
        std::vector<uint64_t>(1000, kMax), every(1, 1000) + std::vector<uint64_t>{kMax},
        every(kMax / 1000, 1000), every(1, 3)})
    expect_sound(TimeAxis(events), events);
}

TEST(TimeAxis, ListsHavePositions) {
  const TimeAxis axis(every(1, 3000), TimeAxis::Unit::kPositions);
  EXPECT_EQ(axis.ticks()[2].label, "1,000");
}

TEST(TimeText, ReadsWell) {
  EXPECT_EQ(time_text(0), "0 ms");
  EXPECT_EQ(time_text(1'250), "1.25 ms");
  EXPECT_EQ(time_text(350'900), "350 ms");
  EXPECT_EQ(time_text(1'259'000), "1.25 s");
  EXPECT_EQ(time_text(125'000'000), "2 min 5 s");
  EXPECT_EQ(time_text(3'600'000'000), "1 h");
  EXPECT_EQ(time_text(12'000'000'000), "3 h 20 min");
  EXPECT_EQ(time_text(uint64_t{1} << 54), "208,499 days 23 h");
}

}  // namespace
}  // namespace dedup
