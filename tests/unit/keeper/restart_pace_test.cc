#include "keeper/restart_pace.h"

#include <gtest/gtest.h>

namespace dedup {
namespace {

TEST(RestartPace, ThreeDeathsAreFreeThenItSlowsDown) {
  RestartPace pace(5000);
  for (const uint32_t wait : {0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000}) {
    EXPECT_EQ(pace.wait_after_death(20000), wait);
  }
}

TEST(RestartPace, RareDeathsAlwaysRestartAtOnce) {
  RestartPace pace(5000);
  for (uint64_t now = 0; now < 1000000; now += 4000) EXPECT_EQ(pace.wait_after_death(now), 0u);
}

TEST(RestartPace, RecoversAfterACalmTime) {
  RestartPace pace(5000);
  for (int i = 0; i < 8; ++i) pace.wait_after_death(1000);
  EXPECT_EQ(pace.wait_after_death(60000), 0u);
}

}  // namespace
}  // namespace dedup
