#include "trace/profile_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tuple>

#include "unit/format/tree_maker.h"
#include "unit/trace/profiles.h"

namespace dedup::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Place = std::tuple<SegmentId, uint64_t, uint64_t>;  // segment, offset, bytes

constexpr uint64_t kKiB = 1024;

std::vector<Place> places(const std::vector<PrefetchRange>& ranges) {
  std::vector<Place> places;
  for (const PrefetchRange& one : ranges)
    places.emplace_back(one.segment, one.range.offset, one.range.length);
  return places;
}

ProfileEntry anywhere(std::string path, ByteRange range = {}) {
  return {std::nullopt, std::move(path), range, 0, 1};
}

class ProfileRangesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const InodeIndex whole = lower.file("usr/bin/program", 12 * kKiB);
    lower.extent(whole, 0, 8 * kKiB, {1, 0});
    lower.extent(whole, 8 * kKiB, 4 * kKiB, {2, 64 * kKiB});  // shared with an older layer
    const InodeIndex sparse = lower.file("usr/sparse", 100 * kKiB);
    lower.extent(sparse, 64 * kKiB, 16 * kKiB, {1, 16 * kKiB});
    const InodeIndex hidden = lower.file("etc/config", 4 * kKiB);
    lower.extent(hidden, 0, 4 * kKiB, {1, 40 * kKiB});
    lower.file("empty");
    lower.symlink("usr/link", "bin");
    lower.link("usr/bin/same", whole);
    const InodeIndex config = upper.file("etc/config", 4 * kKiB);
    upper.extent(config, 0, 4 * kKiB, {3, 0});
    upper.directory("usr/sparse");
    layers = {{digest_of('a'), lower.finish()}, {digest_of('b'), upper.finish()}};
  }
  std::vector<Place> of(std::vector<ProfileEntry> entries) const {
    return places(profile_ranges(profile_with(std::move(entries)), layers));
  }

  TreeMaker lower, upper;
  std::vector<NamedLayer> layers;
};

TEST_F(ProfileRangesTest, AFileIsWhereItsExtentsAre) {
  EXPECT_THAT(of({touched(0, "/usr/bin/program", {}, 0)}),
              ElementsAre(Place(1, 0, 8 * kKiB), Place(2, 64 * kKiB, 4 * kKiB)));
  EXPECT_THAT(of({touched(0, "/usr/bin/same", {10 * kKiB, kKiB}, 0)}),
              ElementsAre(Place(2, 66 * kKiB, kKiB)));
  EXPECT_THAT(of({touched(0, "/usr/bin/program", {7 * kKiB, 2 * kKiB}, 0)}),
              ElementsAre(Place(1, 7 * kKiB, kKiB), Place(2, 64 * kKiB, kKiB)));
}

TEST_F(ProfileRangesTest, TheOrderIsTheProfiles) {
  EXPECT_THAT(
      of({touched(1, "/etc/config", {}, 0), touched(0, "/usr/bin/program", {0, 4096}, 1),
          touched(0, "/etc/config", {}, 2)}),
      ElementsAre(Place(3, 0, 4 * kKiB), Place(1, 0, 4 * kKiB), Place(1, 40 * kKiB, 4 * kKiB)));
}

TEST_F(ProfileRangesTest, HolesAndWhatIsBehindTheEndAreNowhere) {
  EXPECT_THAT(of({touched(0, "/usr/sparse", {0, 64 * kKiB}, 0)}), IsEmpty());
  EXPECT_THAT(of({touched(0, "/usr/sparse", {60 * kKiB, 8 * kKiB}, 0)}),
              ElementsAre(Place(1, 16 * kKiB, 4 * kKiB)));
  EXPECT_THAT(of({touched(0, "/usr/sparse", {}, 0)}), ElementsAre(Place(1, 16 * kKiB, 16 * kKiB)));
  EXPECT_THAT(of({touched(0, "/usr/bin/program", {12 * kKiB, kKiB}, 0)}), IsEmpty());
  EXPECT_THAT(of({touched(0, "/usr/bin/program", {8 * kKiB, uint64_t{1} << 53}, 0)}),
              ElementsAre(Place(2, 64 * kKiB, 4 * kKiB)));
  EXPECT_THAT(of({touched(0, "/empty", {}, 0)}), IsEmpty());
}

TEST_F(ProfileRangesTest, WithoutALayerTheTopmostThatHasSuchAFile) {
  EXPECT_THAT(of({anywhere("/etc/config")}), ElementsAre(Place(3, 0, 4 * kKiB)));
  EXPECT_THAT(of({anywhere("/usr/bin/program", {0, kKiB})}), ElementsAre(Place(1, 0, kKiB)));
  EXPECT_THAT(of({anywhere("/usr/sparse")}), ElementsAre(Place(1, 16 * kKiB, 16 * kKiB)))
      << "above it there is a directory of that name";
}

TEST_F(ProfileRangesTest, WhatTheImageDoesNotHaveIsLeftOut) {
  for (const char* path : {"/", "/usr", "/usr/bin", "/usr/link", "/usr/link/program", "/nothing",
                           "/usr/bin/program/x", "/usr/bin/progra", "/usr/bin/programs"}) {
    EXPECT_THAT(of({touched(0, path, {}, 0), anywhere(path)}), IsEmpty()) << path;
  }
  EXPECT_THAT(of({touched(1, "/usr/bin/program", {}, 0)}), IsEmpty()) << "it is in the other layer";
}

TEST_F(ProfileRangesTest, LayersAreKnownByDigestNotByPlace) {
  Profile profile =
      profile_with({touched(1, "/etc/config", {}, 0), touched(0, "/etc/config", {}, 1)});
  profile.layers = {digest_of('f'), digest_of('a')};
  EXPECT_THAT(places(profile_ranges(profile, layers)), ElementsAre(Place(1, 40 * kKiB, 4 * kKiB)));
}

// 65536 lines that name one large file are a few KiB of a profile.
TEST_F(ProfileRangesTest, TheSameAgainAndAgainEndsWhereTwiceTheLayersAreNamed) {
  const std::vector<ProfileEntry> entries(1000, touched(0, "/usr/bin/program", {}, 0));
  uint64_t bytes = 0;
  for (const PrefetchRange& one : profile_ranges(profile_with(entries), layers))
    bytes += one.range.length;
  EXPECT_EQ(bytes, 7 * 12 * kKiB) << "the layers have 36 KiB";
}

TEST_F(ProfileRangesTest, TheRestIsEveryExtentOfEveryLayer) {
  EXPECT_THAT(places(all_ranges(layers)),
              ElementsAre(Place(1, 0, 8 * kKiB), Place(2, 64 * kKiB, 4 * kKiB),
                          Place(1, 16 * kKiB, 16 * kKiB), Place(1, 40 * kKiB, 4 * kKiB),
                          Place(3, 0, 4 * kKiB)));
}

}  // namespace
}  // namespace dedup::test
