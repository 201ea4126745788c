#include "snapshotter/mounts.h"

#include <gtest/gtest.h>

namespace dedup {
namespace {

const SnapshotPaths kPaths{"/r/snapshots/9/fs", "/r/snapshots/9/work"};

TEST(PlanLowers, MergesConsecutivePoolLayers) {
  const std::vector<ChainLink> chain = {{1, "A"}, {2, "B"}, {3, ""}, {4, "C"}, {5, ""}, {6, ""}};
  const auto lowers = plan_lowers(chain);
  ASSERT_EQ(lowers.size(), 5U);
  EXPECT_EQ(lowers[0].directory_of, 6);
  EXPECT_EQ(lowers[1].directory_of, 5);
  EXPECT_EQ(lowers[2].layers, std::vector<std::string>{"C"});
  EXPECT_TRUE(lowers[2].keep_whiteouts) << "layers 1 to 3 lie below it";
  EXPECT_EQ(lowers[3].directory_of, 3);
  EXPECT_EQ(lowers[4].layers, (std::vector<std::string>{"A", "B"}));
  EXPECT_FALSE(lowers[4].keep_whiteouts);
}

TEST(PlanLowers, EmptyChain) {
  EXPECT_TRUE(plan_lowers({}).empty());
}

Lower at(std::string path) {
  return {.directory_of = 1, .layers = {}, .path = std::move(path)};
}

TEST(MakeMounts, FollowsContainerdsRules) {
  const auto mounts = [](SnapshotKind kind, std::vector<Lower> lowers) {
    auto made = make_mounts(kind, kPaths, lowers, true);
    EXPECT_TRUE(made.ok());
    return made.ok() ? std::move(*made) : std::vector<Mount>();
  };
  using enum SnapshotKind;
  EXPECT_EQ(mounts(kActive, {}), (std::vector<Mount>{{"bind", kPaths.upper, {"rw", "rbind"}}}));
  EXPECT_EQ(mounts(kView, {}), (std::vector<Mount>{{"bind", kPaths.upper, {"ro", "rbind"}}}));
  EXPECT_EQ(mounts(kView, {at("/a")}), (std::vector<Mount>{{"bind", "/a", {"ro", "rbind"}}}));
  EXPECT_EQ(mounts(kView, {at("/a"), at("/b")}),
            (std::vector<Mount>{{"overlay", "overlay", {"index=off", "ro", "lowerdir=/a:/b"}}}));
  EXPECT_EQ(mounts(kActive, {at("/a")}),
            (std::vector<Mount>{{"overlay",
                                 "overlay",
                                 {"index=off", "workdir=/r/snapshots/9/work",
                                  "upperdir=/r/snapshots/9/fs", "lowerdir=/a"}}}));
}

std::vector<Lower> many(size_t count, const std::string& folder) {
  std::vector<Lower> lowers;
  for (size_t i = 0; i < count; ++i) {
    lowers.push_back(at(folder + "/snapshots/" + std::to_string(100 + i) + "/fs"));
  }
  return lowers;
}

// mount(2) cuts what does not fit into a page, so a chain that is too long must not be answered.
TEST(MakeMounts, RefusesOptionsBeyondAPage) {
  const std::string folder = "/var/lib/dedup-snapshotter/snapshotter";
  EXPECT_TRUE(make_mounts(SnapshotKind::kActive, kPaths, many(128, folder), true).ok())
      << "containerd shortens these by their common folder";
  EXPECT_TRUE(make_mounts(SnapshotKind::kActive, kPaths, many(480, folder), true).ok());
  const auto too_long = make_mounts(SnapshotKind::kActive, kPaths, many(600, folder), true);
  ASSERT_FALSE(too_long.ok());
  EXPECT_EQ(too_long.error().code, Errc::kInvalid);
  auto apart = many(128, folder);
  apart.push_back(at("/run/elsewhere/m1"));
  EXPECT_FALSE(make_mounts(SnapshotKind::kActive, kPaths, apart, true).ok())
      << "no common folder to shorten by";
}

}  // namespace
}  // namespace dedup
