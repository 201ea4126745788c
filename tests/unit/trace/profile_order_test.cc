#include "trace/profile_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "unit/trace/profiles.h"

namespace dedup {
namespace {

using test::digest_of;
using test::profile_with;
using test::touched;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint64_t kBlock = kProfileBlockBytes;

TEST(ProfileOrder, JoinsNeighboursTouchedTogether) {
  EXPECT_THAT(
      ordered({touched(0, "/b", {0, kBlock}, 20), touched(0, "/a", {kBlock, 100}, 15),
               touched(0, "/a", {0, kBlock}, 10)}),
      ElementsAre(touched(0, "/a", {0, kBlock + 100}, 10), touched(0, "/b", {0, kBlock}, 20)));
}

TEST(ProfileOrder, KeepsApartWhatDoesNotBelongTogether) {
  const std::vector<ProfileEntry> apart = {
      touched(0, "/a", {kBlock, kBlock}, 10),       // the later half first
      touched(0, "/a", {0, kBlock}, 11),            //
      touched(1, "/b", {0, kBlock}, 12),            // another layer's file of the same path
      touched(0, "/b", {kBlock, kBlock}, 13),       //
      touched(0, "/c", {0, kBlock}, 14),            // long before
      touched(0, "/d", {0, kBlock}, 15, 2),         // by other runs
      touched(0, "/d", {kBlock, kBlock}, 16, 1),    //
      touched(0, "/c", {kBlock, kBlock}, 200'000),  //
  };
  EXPECT_EQ(ordered(apart), apart);
}

TEST(ProfileOrder, MergesByMedianFirstTouch) {
  const std::vector<Profile> runs = {
      profile_with({touched(0, "/a", {0, 10}, 1), touched(0, "/b", {0, 10}, 2000)}),
      profile_with({touched(0, "/b", {0, 10}, 1), touched(0, "/a", {0, 10}, 9000)}),
      profile_with({touched(0, "/a", {0, 10}, 500), touched(0, "/b", {0, 10}, 600)}),
  };
  const auto merged = merge_profiles(runs);
  ASSERT_TRUE(merged.ok()) << merged.error().to_string();
  EXPECT_EQ(merged->runs, 3u);
  EXPECT_EQ(merged->image, runs[0].image);
  EXPECT_THAT(merged->entries,
              ElementsAre(touched(0, "/a", {0, 10}, 500, 3), touched(0, "/b", {0, 10}, 600, 3)));
}

TEST(ProfileOrder, DropsWhatFewRunsTouched) {
  const std::vector<Profile> runs = {
      profile_with({touched(0, "/all", {0, 10}, 1), touched(0, "/once", {0, 10}, 2)}),
      profile_with({touched(0, "/all", {0, 10}, 1), touched(0, "/twice", {0, 10}, 2)}),
      profile_with({touched(0, "/all", {0, 10}, 1), touched(0, "/twice", {0, 10}, 4)}),
  };
  EXPECT_THAT(merge_profiles(runs)->entries,
              ElementsAre(touched(0, "/all", {0, 10}, 1, 3), touched(0, "/twice", {0, 10}, 2, 2)));
  EXPECT_EQ(merge_profiles(runs, {.min_percent_of_runs = 0})->entries.size(), 3u);
  EXPECT_EQ(merge_profiles(runs, {.min_percent_of_runs = 100})->entries.size(), 1u);
  EXPECT_EQ(merge_profiles(std::span(runs).first(2))->entries.size(), 3u) << "one of two is half";
}

TEST(ProfileOrder, MergesBlockByBlock) {
  const std::vector<Profile> runs = {
      profile_with({touched(0, "/a", {0, 3 * kBlock + 7}, 10)}),
      profile_with({touched(0, "/a", {kBlock, kBlock}, 30)}),
      profile_with({touched(0, "/a", {kBlock, 2 * kBlock + 7}, 20)}),
  };
  EXPECT_THAT(merge_profiles(runs)->entries,
              ElementsAre(touched(0, "/a", {2 * kBlock, kBlock + 7}, 10, 2),
                          touched(0, "/a", {kBlock, kBlock}, 20, 3)));
}

TEST(ProfileOrder, MergedProfilesCountWithTheirRuns) {
  const Profile four = profile_with({touched(0, "/a", {0, 1}, 100, 4)}, 4);
  const Profile one = profile_with({touched(0, "/a", {0, 1}, 1), touched(0, "/b", {0, 1}, 2)});
  const auto merged = merge_profiles(std::vector{one, four});
  EXPECT_EQ(merged->runs, 5u);
  EXPECT_THAT(merged->entries, ElementsAre(touched(0, "/a", {0, 1}, 100, 5)));
}

TEST(ProfileOrder, LayersAreMatchedByDigest) {
  Profile other = profile_with({touched(0, "/a", {0, 1}, 1)});
  other.layers = {digest_of('b'), digest_of('c')};
  const auto merged =
      merge_profiles(std::vector{profile_with({touched(1, "/a", {0, 1}, 1)}), other});
  EXPECT_THAT(merged->layers, ElementsAre(digest_of('b')));
  EXPECT_THAT(merged->entries, ElementsAre(touched(0, "/a", {0, 1}, 1, 2)));
}

TEST(ProfileOrder, MergesListsByPosition) {
  const auto list = [](std::vector<std::string> paths) {
    Profile profile;
    profile.source = ProfileSource::kList;
    for (std::string& path : paths) {
      ProfileEntry entry;
      entry.path = std::move(path);
      entry.first_us = profile.entries.size();
      profile.entries.push_back(std::move(entry));
    }
    return profile;
  };
  const auto merged = merge_profiles(
      std::vector{list({"/x", "/y", "/z"}), list({"/y", "/x", "/z"}), list({"/y", "/z", "/x"})});
  std::vector<std::string> paths;
  for (const ProfileEntry& entry : merged->entries) {
    EXPECT_TRUE(entry.range.empty());
    paths.push_back(entry.path);
  }
  EXPECT_THAT(paths, ElementsAre("/y", "/x", "/z"));
}

TEST(ProfileOrder, RefusesWhatHasNoCommonOrder) {
  const auto refused = [](Profile other) {
    return merge_profiles(std::vector{profile_with({}), std::move(other)}).error().code;
  };
  Profile other = profile_with({});
  other.image = digest_of('2');
  EXPECT_EQ(refused(other), Errc::kInvalid);
  other = profile_with({});
  other.entrypoint = {"sh"};
  EXPECT_EQ(refused(other), Errc::kInvalid);
  other = profile_with({});
  other.source = ProfileSource::kList;
  EXPECT_EQ(refused(other), Errc::kInvalid);
  EXPECT_EQ(merge_profiles({}).error().code, Errc::kInvalid);
}

// A line of 60 bytes may speak of petabytes.
TEST(ProfileOrder, HugeRangesDoNotFillTheMemory) {
  const auto merged = merge_profiles(
      std::vector{profile_with({touched(0, "/a", {uint64_t{1} << 53, uint64_t{1} << 53}, 0)})});
  EXPECT_EQ(merged.error().code, Errc::kNoSpace);
  // Nor do whole files that bring the count to its end first.
  const Profile files = profile_with({touched(0, "/a", {}, 0), touched(0, "/b", {}, 0),
                                      touched(0, "/c", {0, uint64_t{1} << 53}, 0)});
  for (const uint64_t max_blocks : {1, 2}) {
    const auto limited = merge_profiles(std::vector{files}, {.max_blocks = max_blocks});
    EXPECT_EQ(limited.error().code, Errc::kNoSpace) << max_blocks;
  }
}

// Which container it was and what was fetched then is true of one start only.
TEST(ProfileOrder, MergingDropsWhatOnlyATraceHas) {
  const Profile plain = profile_with({touched(0, "/a", {0, 1}, 0)});
  Profile trace = plain;
  trace.container = "c";
  trace.started_s = 1;
  trace.prepared_us = 2;
  trace.fetches = {test::fetched(0, "/a", {0, 1}, 0, FetchCause::kReader)};
  EXPECT_EQ(*merge_profiles(std::vector{trace, trace}), *merge_profiles(std::vector{plain, plain}));
}

// Jitter of each run must not show in the order.
TEST(ProfileOrder, ManyNoisyRunsGiveTheTrueOrder) {
  constexpr uint64_t kFiles = 200;
  std::mt19937 random(3);
  std::vector<Profile> runs;
  for (int run = 0; run < 31; ++run) {
    std::vector<ProfileEntry> entries;
    for (uint64_t file = 0; file < kFiles; ++file) {
      if (random() % 10 == 0) continue;  // missed in this run
      const uint64_t jitter = random() % 20 == 0 ? 900'000 : random() % 100;
      entries.push_back(
          touched(0, "/" + std::to_string(1000 + file), {0, 1}, file * 1000 + jitter));
    }
    entries.push_back(touched(0, "/noise" + std::to_string(run), {0, 1}, 5));
    runs.push_back(profile_with(ordered(std::move(entries))));
  }
  const auto merged = merge_profiles(runs);
  ASSERT_EQ(merged->entries.size(), kFiles);
  EXPECT_TRUE(std::ranges::is_sorted(merged->entries, {}, &ProfileEntry::path));
}

}  // namespace
}  // namespace dedup
