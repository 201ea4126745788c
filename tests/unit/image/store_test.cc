#include "image/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "pool/catalog.h"
#include "unit/snapshotter/temp_dir.h"

namespace dedup {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

Digest named(const std::string& name) {
  return sha256(as_bytes(name));
}

class Store : public ::testing::Test {
 protected:
  void SetUp() override { open(); }
  void open() {
    store.reset();
    catalog.reset();
    catalog = std::move(*Catalog::open(dir / "index.db"));
    store = std::move(*ImageStore::open(catalog->database()));
  }
  void add_layer(const std::string& name) {
    ASSERT_TRUE(catalog->insert_layer({named(name), {}, "tar", 1, 1, kZeroSegment}).ok());
  }

  TempDir dir;
  std::unique_ptr<Catalog> catalog;
  std::unique_ptr<ImageStore> store;
};

TEST_F(Store, KeepsImages) {
  ASSERT_TRUE(store->put_image({"b:1", named("m"), {named("x"), named("y"), named("x")}}).ok());
  ASSERT_TRUE(store->put_image({"a:1", named("n"), {}}).ok());
  ASSERT_TRUE(store->put_image({"a:1", named("o"), {named("z")}}).ok());
  open();
  const auto images = *store->images();
  ASSERT_EQ(images.size(), 2U);
  EXPECT_EQ(images[0].ref, "a:1");
  EXPECT_EQ(images[0].manifest_digest, named("o"));
  EXPECT_THAT(images[1].layers, ElementsAre(named("x"), named("y"), named("x")));
  EXPECT_FALSE(store->image("c:1")->has_value());
  ASSERT_TRUE(store->remove_image("a:1").ok());
  EXPECT_FALSE(store->image("a:1")->has_value());
}

TEST_F(Store, LayersLiveAsLongAsAHolderOrAChainNamesThem) {
  for (const char* name : {"x", "y", "z"}) add_layer(name);
  EXPECT_THAT(*store->unheld_layers(), UnorderedElementsAre(named("x"), named("y"), named("z")));
  ASSERT_TRUE(store->hold_layer("image:a", named("x")).ok());
  ASSERT_TRUE(store->hold_layer("image:a", named("x")).ok());
  ASSERT_TRUE(store->hold_layer("image:b", named("x")).ok());
  ASSERT_TRUE(store->put_chain({named("chain"), {named("y")}, true, {3, 0, 4000000000}}).ok());
  EXPECT_THAT(*store->unheld_layers(), ElementsAre(named("z")));
  EXPECT_THAT(*store->unheld_chains(), ElementsAre(AllOf(Field(&UnheldChain::id, named("chain")),
                                                         Field(&UnheldChain::layers_held, false))));
  ASSERT_TRUE(store->hold_layer("image:y", named("y")).ok());
  EXPECT_TRUE(store->unheld_chains()->at(0).layers_held);
  ASSERT_TRUE(store->release("image:y").ok());
  ASSERT_TRUE(store->hold_chain("image:b", named("chain")).ok());
  EXPECT_THAT(*store->unheld_chains(), IsEmpty());
  EXPECT_THAT(*store->chain_holders(named("chain")), ElementsAre("image:b"));
  EXPECT_THAT(*store->holders("image:"), ElementsAre("image:a", "image:b"));
  EXPECT_THAT(*store->holders("mage"), IsEmpty());
  ASSERT_TRUE(store->release("image:a").ok());
  EXPECT_THAT(*store->unheld_layers(), ElementsAre(named("z")));
  ASSERT_TRUE(store->release("image:b").ok());
  EXPECT_THAT(*store->unheld_layers(), UnorderedElementsAre(named("x"), named("z")));
  ASSERT_TRUE(store->remove_chain(named("chain")).ok());
  EXPECT_EQ(store->unheld_layers()->size(), 3U);
}

TEST_F(Store, ATagThatMovedGivesUpItsFormerLayers) {
  ASSERT_TRUE(store->hold_layer("image:a", named("x")).ok());
  add_layer("x");
  add_layer("y");
  ASSERT_TRUE(store->hold_only_layers("image:a", {named("y"), named("y")}).ok());
  EXPECT_THAT(*store->unheld_layers(), ElementsAre(named("x")));
}

TEST_F(Store, KeepsChainsInOrder) {
  const ChainRecord chain{
      named("c"), {named("y"), named("x"), named("z")}, true, {3, 0, 4000000000}};
  ASSERT_TRUE(store->put_chain(chain).ok());
  ASSERT_TRUE(store->put_chain(chain).ok());
  open();
  const auto chains = *store->chains();
  ASSERT_EQ(chains.size(), 1U);
  EXPECT_EQ(chains[0].layers, chain.layers);
  EXPECT_EQ(chains[0].segments, chain.segments);
  EXPECT_TRUE(chains[0].keep_whiteouts);
}

// Asked for every chain of the node at a start.
TEST_F(Store, FindsTheHoldersOfAChainWithoutAWalk) {
  auto held = catalog->database().lock();
  auto plan = catalog->database().prepare(
      "EXPLAIN QUERY PLAN SELECT holder FROM held_chains WHERE chain = ?");
  ASSERT_TRUE(*plan.step());
  EXPECT_EQ(plan.text(3), "SEARCH held_chains USING COVERING INDEX held_chains_by_chain (chain=?)");
}

TEST_F(Store, LocationsAreOrderedByLastSight) {
  ASSERT_TRUE(store->put_location(named("x"), "one").ok());
  ASSERT_TRUE(store->put_location(named("x"), "two").ok());
  ASSERT_TRUE(store->put_location(named("x"), "one").ok());
  ASSERT_TRUE(store->put_location(named("gone"), "one").ok());
  const auto places = *store->locations();
  ASSERT_EQ(places.size(), 3U);
  EXPECT_EQ(places[0].second, "two");
  EXPECT_EQ(places[1].second, "one");
  add_layer("x");
  ASSERT_TRUE(store->forget_locations_without_layer().ok());
  EXPECT_EQ(store->locations()->size(), 2U);
}

TEST_F(Store, KeepsTargets) {
  ASSERT_TRUE(store->put_target({"/mnt/it's", "a:1", named("c")}).ok());
  ASSERT_TRUE(store->put_target({"/mnt/b", "a:1", named("c")}).ok());
  EXPECT_EQ(store->targets()->size(), 2U);
  ASSERT_TRUE(store->remove_target("/mnt/it's").ok());
  ASSERT_EQ(store->targets()->size(), 1U);
  EXPECT_EQ(store->targets()->at(0).target, "/mnt/b");
}

}  // namespace
}  // namespace dedup
