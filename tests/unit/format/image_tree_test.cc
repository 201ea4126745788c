#include "format/image_tree.h"

#include <gtest/gtest.h>

#include "unit/format/tree_maker.h"

namespace dedup {
namespace {

using test::TreeMaker;

// "path" lines of a tree in order, directories with a trailing '/', whiteouts '!', opaque marks
// '*', link count behind.
void list(const ImageTree& tree, uint32_t node, const std::string& path,
          std::vector<std::string>& out) {
  for (const TreeChild& child : tree.nodes[node].children) {
    const TreeNode& next = tree.nodes[child.node];
    std::string name = path + std::string(child.name);
    if (next.inode->is_directory()) name += "/";
    if (next.inode->is_whiteout()) name += "!";
    if (next.opaque) name += "*";
    out.push_back(name);
    list(tree, child.node, path + std::string(child.name) + "/", out);
  }
}

std::vector<std::string> merged(std::vector<PlacedLayer> layers, Whiteouts whiteouts) {
  auto tree = merge_layers(std::move(layers), whiteouts);
  EXPECT_TRUE(tree.ok()) << (tree.ok() ? "" : tree.error().to_string());
  std::vector<std::string> out;
  if (tree.ok()) list(*tree, 0, "", out);
  return out;
}

const TreeNode& node_at(const ImageTree& tree, const std::string& path) {
  uint32_t node = 0;
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string name = path.substr(begin, end - begin);
    const auto& children = tree.nodes[node].children;
    const auto found = std::find_if(children.begin(), children.end(),
                                    [&](const TreeChild& c) { return c.name == name; });
    EXPECT_NE(found, children.end()) << path;
    if (found == children.end()) return tree.nodes[0];
    node = found->node;
    begin = end + 1;
  }
  return tree.nodes[node];
}

using Lines = std::vector<std::string>;

TEST(ImageTree, RefusesNoLayers) {
  const auto tree = merge_layers({}, Whiteouts::kApply);
  ASSERT_FALSE(tree.ok());
  EXPECT_EQ(tree.error().code, Errc::kInvalid);
}

TEST(ImageTree, RefusesLayerWithoutRoot) {
  PlacedLayer layer{std::make_shared<const LayerIndex>(), nullptr};
  EXPECT_FALSE(merge_layers({layer}, Whiteouts::kApply).ok());
  EXPECT_FALSE(merge_layers({PlacedLayer{}}, Whiteouts::kApply).ok());
}

TEST(ImageTree, RefusesDanglingEntryAndLoops) {
  LayerIndex dangling;
  dangling.inodes.push_back(TreeMaker::make(S_IFDIR | 0755));
  dangling.inodes[0].children.push_back({"a", 7});
  EXPECT_FALSE(
      merge_layers({{std::make_shared<const LayerIndex>(dangling), nullptr}}, Whiteouts::kApply)
          .ok());

  LayerIndex loop;
  loop.inodes.push_back(TreeMaker::make(S_IFDIR | 0755));
  loop.inodes.push_back(TreeMaker::make(S_IFDIR | 0755));
  loop.inodes[0].children.push_back({"a", 1});
  loop.inodes[1].children.push_back({"b", 1});
  const auto tree =
      merge_layers({{std::make_shared<const LayerIndex>(loop), nullptr}}, Whiteouts::kApply);
  ASSERT_FALSE(tree.ok());
  EXPECT_NE(tree.error().context.find("do not form a tree"), std::string::npos);
}

TEST(ImageTree, MergesDirectoriesAndReplacesFiles) {
  TreeMaker bottom;
  bottom.directory("d", 0700);
  bottom.file("d/both", 1);
  bottom.file("d/bottom");
  bottom.file("file-then-dir");
  bottom.directory("dir-then-file");
  bottom.file("dir-then-file/gone");
  TreeMaker top;
  top.directory("d", 0711);
  top.file("d/both", 2);
  top.file("d/top");
  top.file("file-then-dir/new");
  top.file("dir-then-file");
  const std::vector<PlacedLayer> layers = {bottom.finish(), top.finish()};
  EXPECT_EQ(merged(layers, Whiteouts::kApply),
            (Lines{"d/", "d/both", "d/bottom", "d/top", "dir-then-file", "file-then-dir/",
                   "file-then-dir/new"}));
  const auto tree = merge_layers(layers, Whiteouts::kApply);
  EXPECT_EQ(node_at(*tree, "d").inode->mode, S_IFDIR | 0711u);
  EXPECT_EQ(node_at(*tree, "d/both").inode->size, 2u);
  EXPECT_EQ(node_at(*tree, "d/both").layer, 1u);
  EXPECT_EQ(node_at(*tree, "d/bottom").layer, 0u);
}

TEST(ImageTree, WhiteoutsDeleteWhatLiesBelowOnly) {
  TreeMaker bottom;
  bottom.file("a/x");
  bottom.file("a/y");
  bottom.file("b/x");
  TreeMaker middle;
  middle.whiteout("a/x");
  middle.whiteout("b");
  middle.whiteout("never-existed");
  TreeMaker top;
  top.file("b/z");
  const std::vector<PlacedLayer> layers = {bottom.finish(), middle.finish(), top.finish()};
  EXPECT_EQ(merged(layers, Whiteouts::kApply), (Lines{"a/", "a/y", "b/", "b/z"}));
  // Kept: the whiteout may hide a name of a layer that is not part of the chain, and "b" starts
  // anew.
  EXPECT_EQ(merged(layers, Whiteouts::kKeep),
            (Lines{"a/", "a/x!", "a/y", "b/*", "b/z", "never-existed!"}));
}

TEST(ImageTree, OpaqueDirectoryHidesLowerChildren) {
  TreeMaker bottom;
  bottom.file("d/old/deep");
  bottom.file("d/x");
  TreeMaker top;
  top.at(top.directory("d")).opaque = true;
  top.file("d/new");
  const std::vector<PlacedLayer> layers = {bottom.finish(), top.finish()};
  EXPECT_EQ(merged(layers, Whiteouts::kApply), (Lines{"d/", "d/new"}));
  EXPECT_EQ(merged(layers, Whiteouts::kKeep), (Lines{"d/*", "d/new"}));
}

TEST(ImageTree, OpaqueRootHidesEverything) {
  TreeMaker bottom;
  bottom.file("old");
  TreeMaker top;
  top.at(kRootInode).opaque = true;
  top.file("new");
  const std::vector<PlacedLayer> layers = {bottom.finish(), top.finish()};
  EXPECT_EQ(merged(layers, Whiteouts::kApply), (Lines{"new"}));
  const auto kept = merge_layers(layers, Whiteouts::kKeep);
  EXPECT_TRUE(kept->nodes[0].opaque);
  EXPECT_FALSE(merge_layers(layers, Whiteouts::kApply)->nodes[0].opaque);
}

TEST(ImageTree, ImplicitDirectoryTakesAttributesFromBelow) {
  TreeMaker bottom;
  bottom.at(bottom.directory("d", 0700)).uid = 7;
  bottom.directory("d/e", 0711);
  bottom.file("w/x");
  TreeMaker middle;
  middle.whiteout("w");
  TreeMaker top;
  top.file("d/e/f");  // d and e implicit
  top.file("w/y");
  const std::vector<PlacedLayer> layers = {bottom.finish(), middle.finish(), top.finish()};
  const auto tree = merge_layers(layers, Whiteouts::kApply);
  EXPECT_EQ(node_at(*tree, "d").inode->uid, 7u);
  EXPECT_EQ(node_at(*tree, "d").inode->mode, S_IFDIR | 0700u);
  EXPECT_EQ(node_at(*tree, "d/e").inode->mode, S_IFDIR | 0711u);
  EXPECT_TRUE(node_at(*tree, "w").inode->implicit) << "a deleted directory lends nothing";
}

TEST(ImageTree, ImplicitOpaqueDirectoryStillTakesAttributesFromBelow) {
  TreeMaker bottom;
  bottom.directory("d", 0700);
  bottom.directory("d/e", 0711);
  bottom.file("d/e/old");
  TreeMaker top;
  top.file("d/e/new");
  PlacedLayer upper = top.finish();
  auto index = std::make_shared<LayerIndex>(*upper.index);
  index->inodes[index->inodes[0].children[0].inode].opaque = true;
  upper.index = index;
  const auto tree = merge_layers({bottom.finish(), upper}, Whiteouts::kApply);
  EXPECT_EQ(node_at(*tree, "d").inode->mode, S_IFDIR | 0700u);
  EXPECT_EQ(node_at(*tree, "d/e").inode->mode, S_IFDIR | 0711u);
  EXPECT_EQ(node_at(*tree, "d/e").children.size(), 1u);
}

TEST(ImageTree, HardLinksShareOneNodeWithinTheirLayer) {
  TreeMaker bottom;
  const InodeIndex file = bottom.file("a");
  bottom.link("d/b", file);
  TreeMaker top;
  top.file("a");
  const auto tree = merge_layers({bottom.finish(), top.finish()}, Whiteouts::kApply);
  EXPECT_EQ(node_at(*tree, "d/b").inode->link_count, 2u) << "as overlayfs shows it";
  EXPECT_EQ(node_at(*tree, "a").inode->link_count, 1u);

  TreeMaker alone;
  alone.link("b", alone.file("a"));
  const auto linked = merge_layers({alone.finish()}, Whiteouts::kApply);
  EXPECT_EQ(&node_at(*linked, "a"), &node_at(*linked, "b"));
  EXPECT_EQ(linked->nodes.size(), 2u);
}

TEST(ImageTree, PathOfNode) {
  TreeMaker maker;
  maker.file("a/b/c");
  const auto tree = merge_layers({maker.finish()}, Whiteouts::kApply);
  const auto& deepest = node_at(*tree, "a/b/c");
  EXPECT_EQ(tree_path(*tree, static_cast<uint32_t>(&deepest - tree->nodes.data())), "/a/b/c");
  EXPECT_EQ(tree_path(*tree, 0), "/");
}

}  // namespace
}  // namespace dedup
