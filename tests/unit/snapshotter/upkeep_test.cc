#include <gtest/gtest.h>

#include "snapshotter/conversion.h"
#include "snapshotter/sweep.h"
#include "unit/snapshotter/harness.h"

namespace dedup {
namespace {

class UpkeepTest : public testing::Test, protected SnapshotterHarness {
 protected:
  void commit(const std::string& name, const std::string& parent) {
    ASSERT_TRUE(snapshotter->prepare(name + "-key", parent, {}).ok());
    ASSERT_TRUE(snapshotter->commit(name, name + "-key", {}, "").ok());
  }
  bool exists(int64_t id) { return std::filesystem::exists(directories.fs(id)); }

  Converter converter{*store, directories, client, log};
  Sweeper sweeper{*store, directories, client, log};
};

TEST_F(UpkeepTest, AConvertedDirectoryGoesWhenNothingIsMountedOverIt) {
  start_daemon();
  commit("base", "");
  ASSERT_TRUE(snapshotter->prepare("container", "base", {}).ok());
  EXPECT_TRUE(converter.run().has_value());
  EXPECT_FALSE(converter.run().has_value()) << "nothing left to convert";
  EXPECT_EQ(daemon->requests("/v1/imports").at(0)["directory"], directories.fs(1));
  EXPECT_EQ(snapshotter->usage("base")->inodes, 1) << "measured before the directory goes";

  ASSERT_TRUE(sweeper.sweep().ok());
  EXPECT_TRUE(exists(1)) << "lowerdir of the container";
  EXPECT_EQ((*snapshotter->mounts("container"))[0].options.back(), "lowerdir=" + directories.fs(1));
  ASSERT_TRUE(snapshotter->remove("container").ok());
  ASSERT_TRUE(sweeper.sweep().ok());
  EXPECT_FALSE(exists(1));
  EXPECT_TRUE(daemon->holders().contains("snapshot:1"));
  EXPECT_TRUE(snapshotter->prepare("next", "base", {}).ok()) << "mounted from the pool";
}

TEST_F(UpkeepTest, ConversionWaitsForTheDaemonAndGivesUpOnRefusals) {
  commit("base", "");
  const auto retry = converter.run();
  ASSERT_TRUE(retry.has_value());
  EXPECT_GT(retry->count(), 0) << "no daemon: later";
  start_daemon();
  daemon->refuse("/v1/imports", {501, "unsupported"});
  EXPECT_TRUE(converter.run().has_value());
  EXPECT_FALSE(converter.run().has_value()) << "not tried for ever";
  ASSERT_TRUE(sweeper.sweep().ok());
  EXPECT_TRUE(exists(1)) << "an unconverted directory is the only copy";
}

TEST_F(UpkeepTest, HoldersOfRemovedSnapshotsAreReleased) {
  start_daemon();
  ASSERT_FALSE(snapshotter->prepare("k", "", remote_labels("T1", 'a')).ok());
  ASSERT_TRUE(snapshotter->prepare("container", "T1", {}).ok());
  EXPECT_EQ(daemon->holders(), (std::set<std::string>{"snapshot:1", "snapshot:2/mounts"}));
  ASSERT_TRUE(sweeper.sweep().ok());
  EXPECT_EQ(daemon->holders().size(), 2U) << "both are needed";

  daemon.reset();
  ASSERT_TRUE(snapshotter->remove("container").ok()) << "removal needs no daemon";
  ASSERT_TRUE(snapshotter->remove("T1").ok());
  ASSERT_TRUE(sweeper.run().has_value()) << "comes again when the daemon is back";
}

TEST_F(UpkeepTest, ReleasesWhatAnEarlierProcessLeft) {
  start_daemon();
  ASSERT_FALSE(snapshotter->prepare("k", "", remote_labels("T1", 'a')).ok());
  ASSERT_TRUE(client.add_layer({"T", "r", digest('b'), "", {}}, "snapshot:77").ok());
  ASSERT_TRUE(client.add_layer({"T", "r", digest('b'), "", {}}, "image:host/name:tag").ok());
  ASSERT_TRUE(client.add_layer({"T", "r", digest('b'), "", {}}, "snapshot:1x").ok());
  EXPECT_FALSE(sweeper.run().has_value());
  EXPECT_EQ(daemon->holders(),
            (std::set<std::string>{"image:host/name:tag", "snapshot:1", "snapshot:1x"}))
      << "only names of ours";
}

TEST_F(UpkeepTest, CommittingReleasesTheMountsBelow) {
  start_daemon();
  ASSERT_FALSE(snapshotter->prepare("k", "", remote_labels("T1", 'a')).ok());
  commit("top", "T1");
  EXPECT_TRUE(converter.run().has_value());
  ASSERT_TRUE(sweeper.sweep().ok());
  EXPECT_EQ(daemon->holders(), (std::set<std::string>{"snapshot:1", "snapshot:2"}))
      << "the layer of the committed snapshot stays, its mounts go";
}

}  // namespace
}  // namespace dedup
