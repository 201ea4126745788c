#include "snapshotter/snapshotter.h"

#include <gtest/gtest.h>

#include "unit/snapshotter/harness.h"

namespace dedup {
namespace {

class SnapshotterTest : public testing::Test, protected SnapshotterHarness {
 protected:
  Errc prepare_remote(const std::string& key, const std::string& parent, const std::string& target,
                      char layer) {
    const auto mounts = snapshotter->prepare(key, parent, remote_labels(target, layer));
    return mounts.ok() ? Errc::kIo : mounts.error().code;
  }
  // What containerd looks for after ALREADY_EXISTS.
  std::vector<SnapshotInfo> walk(const std::string& target, const std::string& parent) {
    const std::vector filters = {*SnapshotFilter::parse(
        "labels.\"containerd.io/snapshot.ref\"==" + target + ",parent==\"" + parent + "\"")};
    return *snapshotter->list(filters);
  }
};

TEST_F(SnapshotterTest, RemoteLayersAlreadyExist) {
  start_daemon();
  EXPECT_EQ(prepare_remote("k1", "", "T1", 'a'), Errc::kExists);
  const auto found = walk("T1", "");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].name, "T1");
  EXPECT_EQ(found[0].kind, SnapshotKind::kCommitted);
  EXPECT_EQ(prepare_remote("k2", "T1", "T2", 'b'), Errc::kExists);
  EXPECT_EQ(walk("T2", "T1").size(), 1U);

  EXPECT_EQ(prepare_remote("k3", "", "T1", 'a'), Errc::kExists);
  EXPECT_EQ(daemon->requests("/v1/layers").size(), 2U) << "a known target costs no call";
  EXPECT_EQ(snapshotter->stat("k1").error().code, Errc::kNotFound);

  const auto mounts = snapshotter->prepare("container", "T2", {});
  ASSERT_TRUE(mounts.ok()) << mounts.error().to_string();
  EXPECT_EQ((*mounts)[0].type, "overlay");
  const auto chain = daemon->requests("/v1/chains").at(0);
  EXPECT_EQ(chain["layers"], nlohmann::json({digest('a'), digest('b')})) << "one merged run";
  EXPECT_EQ(chain["keep_whiteouts"], false);
  EXPECT_EQ(*snapshotter->mounts("container"), *mounts);
}

TEST_F(SnapshotterTest, TheSameChainOnAnotherParentGetsAnAlias) {
  start_daemon();
  ASSERT_TRUE(snapshotter->prepare("x", "", {}).ok());
  ASSERT_TRUE(snapshotter->commit("unpacked", "x", {}, "").ok());
  EXPECT_EQ(prepare_remote("k1", "", "T1", 'a'), Errc::kExists);
  EXPECT_EQ(prepare_remote("k2", "unpacked", "T1", 'a'), Errc::kExists);
  EXPECT_EQ(walk("T1", "").size(), 1U);
  const auto alias = walk("T1", "unpacked");
  ASSERT_EQ(alias.size(), 1U);
  EXPECT_NE(alias[0].name, "T1");
  EXPECT_EQ(alias[0].kind, SnapshotKind::kCommitted);
}

// containerd 2.4 commits an empty layer when the last mount of such a snapshot is read-only.
TEST_F(SnapshotterTest, ARefusedLayerBecomesAWritableSnapshot) {
  start_daemon();
  EXPECT_EQ(prepare_remote("k1", "", "T1", 'a'), Errc::kExists);
  daemon->refuse("/v1/layers", {422, "corruption"});
  const auto mounts = snapshotter->prepare("k2", "T1", remote_labels("T2", 'b'));
  ASSERT_TRUE(mounts.ok());
  EXPECT_EQ(mounts->back().type, "overlay");
  EXPECT_NE(mounts->back().options.at(mounts->back().options.size() - 2).find("upperdir="),
            std::string::npos);
  EXPECT_TRUE(walk("T2", "T1").empty() || walk("T2", "T1")[0].kind == SnapshotKind::kActive);
  ASSERT_TRUE(snapshotter->commit("T2-unpacked", "k2", {}, "").ok());
}

TEST_F(SnapshotterTest, WithoutADaemonPlainSnapshotsWork) {
  const auto mounts = snapshotter->prepare("k1", "", remote_labels("T1", 'a'));
  ASSERT_TRUE(mounts.ok()) << mounts.error().to_string();
  EXPECT_EQ(mounts->back(), (Mount{"bind", directories.fs(2), {"rw", "rbind"}}));
  ASSERT_TRUE(snapshotter->commit("c1", "k1", {}, "").ok());
  const auto upper = snapshotter->prepare("k2", "c1", {});
  ASSERT_TRUE(upper.ok());
  EXPECT_EQ(upper->back().type, "overlay");
  EXPECT_EQ(snapshotter->mounts("c1").error().code, Errc::kInvalid);
}

TEST_F(SnapshotterTest, AMountThatFailsLeavesNothingBehind) {
  start_daemon();
  EXPECT_EQ(prepare_remote("k1", "", "T1", 'a'), Errc::kExists);
  daemon->refuse("/v1/chains", {404, "not_found"});
  const auto failed = snapshotter->prepare("container", "T1", {});
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, Errc::kIo) << "not the snapshot is missing";
  EXPECT_EQ(snapshotter->list({})->size(), 1U);
  daemon->refuse("/v1/chains", {});
  EXPECT_TRUE(snapshotter->prepare("container", "T1", {}).ok()) << "it can be repeated";
}

TEST_F(SnapshotterTest, ConcurrentRequestsForOneTargetShareOneFetch) {
  start_daemon();
  daemon->during_layer = [] { std::this_thread::sleep_for(std::chrono::milliseconds(300)); };
  std::vector<std::thread> callers;
  std::atomic<int> served = 0;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&, i] {
      if (prepare_remote("k" + std::to_string(i), "", "T1", 'a') == Errc::kExists) ++served;
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(served, 4);
  EXPECT_EQ(daemon->requests("/v1/layers").size(), 1U);
  EXPECT_EQ(snapshotter->list({})->size(), 1U);
}

// After a reboot nothing is mounted at the stored mountpoint until the daemon is asked again.
TEST_F(SnapshotterTest, MountsAskForAChainThatIsNotMounted) {
  start_daemon();
  EXPECT_EQ(prepare_remote("k1", "", "T1", 'a'), Errc::kExists);
  const auto mounts = snapshotter->view("v", "T1", {});
  ASSERT_TRUE(mounts.ok());
  const auto before = daemon->requests("/v1/chains").size();
  EXPECT_EQ(*snapshotter->mounts("v"), *mounts);
  EXPECT_EQ(daemon->requests("/v1/chains").size(), before + 1);
}

TEST_F(SnapshotterTest, UsageOfCommittedSnapshotsDoesNotChange) {
  ASSERT_TRUE(snapshotter->prepare("k", "", {}).ok());
  ASSERT_TRUE(snapshotter->commit("c", "k", {}, "").ok());
  const auto usage = snapshotter->usage("c");
  ASSERT_TRUE(usage.ok());
  EXPECT_EQ(usage->inodes, 1);
  ASSERT_EQ(::mkdir((directories.fs(1) + "/d").c_str(), 0755), 0);
  EXPECT_EQ(snapshotter->usage("c")->inodes, 1);
}

}  // namespace
}  // namespace dedup
