#include <gtest/gtest.h>

#include "snapshotter/snapshot_store.h"
#include "unit/snapshotter/temp_dir.h"

namespace dedup {
namespace {

class SnapshotStoreTest : public testing::Test {
 protected:
  SnapshotStoreTest() { reopen(); }

  void reopen() {
    x_store.reset();
    auto opened = SnapshotStore::open(x_dir / "snapshots.db");
    ASSERT_TRUE(opened.ok()) << opened.error().to_string();
    x_store = std::move(*opened);
  }

  Result<int64_t> make(SnapshotKind kind, const std::string& key, const std::string& parent = "",
                       Labels labels = {}) {
    TRY(reservation, x_store->reserve({kind, key, parent, std::move(labels)}));
    if (kind == SnapshotKind::kCommitted) {
      TRY(x_store->publish_layer(reservation.id, "sha256:" + key));
    } else {
      for (Lower& lower : reservation.lowers) lower.path = "/x";
      TRY(x_store->publish(reservation.id, reservation.lowers));
    }
    return reservation.id;
  }
  // A committed directory.
  int64_t committed(const std::string& name, const std::string& parent = "") {
    const auto id = make(SnapshotKind::kActive, name + "-key", parent);
    EXPECT_TRUE(id.ok());
    EXPECT_TRUE(x_store->commit(name, name + "-key", {}, "").ok());
    return *id;
  }

  TempDir x_dir;
  std::unique_ptr<SnapshotStore> x_store;
};

using enum SnapshotKind;

TEST_F(SnapshotStoreTest, SaysWhatIsLegal) {
  committed("base");
  ASSERT_TRUE(make(kActive, "active", "base").ok());
  ASSERT_TRUE(make(kView, "view", "base").ok());

  EXPECT_EQ(make(kActive, "active").error().code, Errc::kExists);
  EXPECT_EQ(make(kView, "active", "base").error().code, Errc::kExists);
  EXPECT_EQ(make(kActive, "x", "missing").error().code, Errc::kNotFound);
  EXPECT_EQ(make(kActive, "x", "active").error().code, Errc::kInvalid);
  EXPECT_EQ(make(kActive, "x", "view").error().code, Errc::kInvalid);
  EXPECT_TRUE(is_precondition(x_store->remove("base").error())) << "it has children";
  EXPECT_TRUE(is_precondition(x_store->commit("n", "view", {}, "").error())) << "not active";
  EXPECT_EQ(x_store->commit("base", "active", {}, "").error().code, Errc::kExists);
  EXPECT_EQ(x_store->commit("n", "missing", {}, "").error().code, Errc::kNotFound);
  EXPECT_EQ(x_store->commit("n", "active", {}, "other").error().code, Errc::kUnsupported);
  EXPECT_EQ(x_store->remove("missing").error().code, Errc::kNotFound);

  EXPECT_TRUE(x_store->commit("n", "active", {}, "base").ok());
  EXPECT_EQ(x_store->find("active").error().code, Errc::kNotFound);
  EXPECT_TRUE(x_store->remove("n").ok());
  EXPECT_TRUE(x_store->remove("view").ok());
  EXPECT_TRUE(x_store->remove("base").ok());
}

TEST_F(SnapshotStoreTest, ReservedSnapshotsAreHiddenButHoldTheirPlace) {
  committed("base");
  ASSERT_TRUE(x_store->reserve({kActive, "making", "base", {}}).ok());
  EXPECT_EQ(x_store->find("making").error().code, Errc::kNotFound);
  EXPECT_EQ(x_store->list()->size(), 1U);
  EXPECT_EQ(x_store->reserve({kActive, "making", "", {}}).error().code, Errc::kExists);
  EXPECT_TRUE(is_precondition(x_store->remove("base").error()))
      << "its parent must stay while the daemon works";
}

// A kill between the two steps must leave neither a key that is taken for ever nor an id that the
// daemon knows under another snapshot.
TEST_F(SnapshotStoreTest, ReservedSnapshotsDoNotOutliveTheProcess) {
  const int64_t lost = x_store->reserve({kActive, "making", "", {}})->id;
  reopen();
  const auto again = make(kActive, "making");
  ASSERT_TRUE(again.ok());
  EXPECT_GT(*again, lost) << "ids are never used twice";
}

TEST_F(SnapshotStoreTest, KeepsEverythingAcrossAReopen) {
  committed("base");
  ASSERT_TRUE(make(kCommitted, "remote", "base", {{"a", "1"}}).ok());
  const auto active = make(kActive, "active", "remote");
  ASSERT_TRUE(active.ok());
  const auto before = x_store->find("remote");
  reopen();
  const auto after = x_store->find("remote");
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->info.parent, "base");
  EXPECT_EQ(after->info.labels, (Labels{{"a", "1"}}));
  EXPECT_EQ(after->info.created_ns, before->info.created_ns);
  EXPECT_EQ(after->layer, "sha256:remote");
  const auto lowers = x_store->lowers(*active);
  ASSERT_TRUE(lowers.ok());
  ASSERT_EQ(lowers->size(), 2U);
  EXPECT_EQ((*lowers)[0].layers, std::vector<std::string>{"sha256:remote"});
  EXPECT_TRUE((*lowers)[0].keep_whiteouts);
}

TEST_F(SnapshotStoreTest, UpdateFollowsTheFieldMask) {
  ASSERT_TRUE(make(kActive, "s", "", {{"a", "1"}, {"b", "2"}}).ok());
  const std::vector<std::string> two = {"labels.a", "labels.b"};
  auto info = x_store->update("s", {{"a", "new"}, {"c", "ignored"}}, two);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->labels, (Labels{{"a", "new"}})) << "b has no new value and goes";
  info = x_store->update("s", {{"z", "1"}, {"empty", ""}}, {});
  EXPECT_EQ(info->labels, (Labels{{"z", "1"}}));
  EXPECT_GT(info->updated_ns, info->created_ns);
  const std::vector<std::string> immutable = {"parent"};
  EXPECT_EQ(x_store->update("s", {}, immutable).error().code, Errc::kInvalid);
  EXPECT_EQ(x_store->update("missing", {}, {}).error().code, Errc::kNotFound);
}

TEST_F(SnapshotStoreTest, FindsTargetsOnExactlyOneParent) {
  committed("p");
  const Labels labels = {{std::string(kTargetLabel), "T"}};
  ASSERT_TRUE(make(kActive, "extract", "p", labels).ok());
  EXPECT_FALSE(*x_store->has_target("T", "p")) << "an extraction in progress is no target";
  ASSERT_TRUE(make(kCommitted, "T", "p", labels).ok());
  EXPECT_TRUE(*x_store->has_target("T", "p"));
  EXPECT_FALSE(*x_store->has_target("T", ""));
}

TEST_F(SnapshotStoreTest, DirectoriesStayWhileTheyAreLowers) {
  const int64_t base = committed("base");
  ASSERT_TRUE(make(kActive, "container", "base").ok());
  ASSERT_EQ((*x_store->next_conversion())->id, base);
  EXPECT_TRUE(*x_store->finish_conversion(base, "sha256:base"));
  EXPECT_FALSE(*x_store->next_conversion());
  EXPECT_TRUE(x_store->take_unused_directories()->empty()) << "the container is mounted over it";

  ASSERT_TRUE(make(kView, "later", "base").ok());
  EXPECT_EQ((*x_store->lowers(x_store->find("later")->id))[0].directory_of, 0)
      << "new snapshots use the layer";
  ASSERT_TRUE(x_store->remove("container").ok());
  EXPECT_EQ(*x_store->take_unused_directories(), std::vector{base});
  EXPECT_TRUE(x_store->take_unused_directories()->empty());
}

TEST_F(SnapshotStoreTest, ConversionsResumeAfterAReopen) {
  const int64_t base = committed("base");
  ASSERT_TRUE(x_store->give_up_conversion(base).ok());
  EXPECT_FALSE(*x_store->next_conversion());
  reopen();
  ASSERT_TRUE(*x_store->next_conversion());
  ASSERT_TRUE(x_store->remove("base").ok());
  EXPECT_FALSE(*x_store->finish_conversion(base, "sha256:base")) << "removed meanwhile";
}

TEST_F(SnapshotStoreTest, KnowsWhichHoldersAreNeeded) {
  using enum SnapshotStore::HolderUse;
  const auto id = make(kActive, "a");
  EXPECT_TRUE(*x_store->needs_holder(*id, kMounts));
  EXPECT_FALSE(*x_store->needs_holder(*id, kLayer));
  ASSERT_TRUE(x_store->commit("c", "a", {}, "").ok());
  EXPECT_FALSE(*x_store->needs_holder(*id, kMounts));
  EXPECT_TRUE(*x_store->needs_holder(*id, kLayer));
  EXPECT_TRUE(*x_store->needs_holder(x_store->reserve({kCommitted, "r", "", {}})->id, kLayer))
      << "the daemon adds the holder before the snapshot is published";
}

TEST_F(SnapshotStoreTest, RefusesAFileOfANewerVersion) {
  x_store.reset();
  {
    auto database = Database::open(x_dir / "snapshots.db");
    ASSERT_TRUE((*database)->execute("PRAGMA user_version = 99").ok());
  }
  EXPECT_EQ(SnapshotStore::open(x_dir / "snapshots.db").error().code, Errc::kUnsupported);
}

}  // namespace
}  // namespace dedup
