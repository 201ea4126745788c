#include "format/image_tree.h"

#include <algorithm>
#include <limits>

namespace dedup {
namespace {

constexpr uint32_t kNoNode = std::numeric_limits<uint32_t>::max();

struct LayerInode {
  uint32_t layer = 0;
  const Inode* inode = nullptr;
};

// What the layers hold at one directory path, topmost first.
//   visible  contribute names
//   hidden   lie below an opaque directory: they only lend their attributes to implicit
//   directories, as the parents that
//            containerd creates while it unpacks take theirs from the lower layer
struct DirectoryStack {
  std::vector<LayerInode> visible;
  std::vector<LayerInode> hidden;
  bool cut =
      false;  // something in these layers hides whatever other overlay lowerdirs hold at this path
};

struct Candidate {
  std::string_view name;
  uint32_t rank = 0;  // index into DirectoryStack::visible
  InodeIndex inode = 0;
};

class Merger {
 public:
  Merger(std::vector<PlacedLayer> layers, Whiteouts whiteouts) : x_whiteouts(whiteouts) {
    x_tree.layers = std::move(layers);
  }

  Result<ImageTree> run();

 private:
  struct Pending {
    uint32_t node = 0;
    DirectoryStack stack;
  };

  Result<void> prepare();
  Result<void> merge_directory(const Pending& directory);
  Result<void> merge_name(uint32_t parent, const DirectoryStack& above,
                          std::span<const Candidate> same_name);
  DirectoryStack stack_of(const DirectoryStack& above, std::span<const Candidate> same_name) const;
  Result<uint32_t> add_directory(DirectoryStack stack);
  Result<uint32_t> add_leaf(LayerInode leaf);
  Result<uint32_t> add_node(LayerInode from, bool opaque);
  const Inode* inode_at(uint32_t layer, InodeIndex index) const {
    return &x_tree.layers[layer].index->inodes[index];
  }

  Whiteouts x_whiteouts;
  ImageTree x_tree;
  std::vector<Pending> x_pending;
  std::vector<std::vector<uint32_t>>
      x_leaf_nodes;  // per layer, per inode: its node, for hard links
  std::vector<Candidate> x_candidates;
  uint64_t x_max_nodes = 1;  // every node but the root stems from a directory entry of its own
};

Result<void> Merger::prepare() {
  if (x_tree.layers.empty()) return make_error(Errc::kInvalid, "merge of no layers");
  for (const PlacedLayer& layer : x_tree.layers) {
    if (!layer.index || layer.index->inodes.empty() ||
        !layer.index->inodes[kRootInode].is_directory()) {
      return make_error(Errc::kInvalid, "layer without a root directory");
    }
    const size_t inode_count = layer.index->inodes.size();
    for (const Inode& inode : layer.index->inodes) {
      x_max_nodes += inode.children.size();
      for (const DirEntry& child : inode.children) {
        if (child.inode >= inode_count)
          return make_error(Errc::kInvalid, "layer entry names no inode: " + child.name);
      }
    }
    x_leaf_nodes.emplace_back(inode_count, kNoNode);
  }
  x_tree.nodes.reserve(static_cast<size_t>(x_max_nodes));
  return {};
}

Result<ImageTree> Merger::run() {
  TRY(prepare());
  DirectoryStack root;
  for (uint32_t layer = static_cast<uint32_t>(x_tree.layers.size()); layer-- > 0;) {
    (root.cut ? root.hidden : root.visible).push_back({layer, inode_at(layer, kRootInode)});
    root.cut = root.cut || inode_at(layer, kRootInode)->opaque;
  }
  TRY(add_directory(std::move(root)));
  while (!x_pending.empty()) {
    const Pending next = std::move(x_pending.back());
    x_pending.pop_back();
    TRY(merge_directory(next));
  }
  return std::move(x_tree);
}

Result<void> Merger::merge_directory(const Pending& directory) {
  const DirectoryStack& stack = directory.stack;
  std::vector<Candidate> candidates =
      std::move(x_candidates);  // keeps its memory between directories
  candidates.clear();
  for (uint32_t rank = 0; rank < stack.visible.size(); ++rank) {
    for (const DirEntry& child : stack.visible[rank].inode->children) {
      candidates.push_back({child.name, rank, child.inode});
    }
  }
  if (stack.visible.size() > 1) {
    std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
      const int order = a.name.compare(b.name);
      return order != 0 ? order < 0 : a.rank < b.rank;
    });
  }
  x_tree.nodes[directory.node].children.reserve(candidates.size());
  const std::span<const Candidate> all(candidates);
  for (size_t begin = 0, end = 0; begin < all.size(); begin = end) {
    end = begin + 1;
    while (end < all.size() && all[end].name == all[begin].name) ++end;
    TRY(merge_name(directory.node, stack, all.subspan(begin, end - begin)));
  }
  x_candidates = std::move(candidates);
  return {};
}

Result<void> Merger::merge_name(uint32_t parent, const DirectoryStack& above,
                                std::span<const Candidate> same_name) {
  const Candidate& top = same_name.front();
  const LayerInode from{above.visible[top.rank].layer,
                        inode_at(above.visible[top.rank].layer, top.inode)};
  if (x_whiteouts == Whiteouts::kApply && from.inode->is_whiteout()) return {};
  auto node =
      from.inode->is_directory() ? add_directory(stack_of(above, same_name)) : add_leaf(from);
  if (!node.ok()) return std::move(node).error().with(top.name);
  x_tree.nodes[parent].children.push_back({top.name, *node});
  return {};
}

// The directories of one name below `above`: down to the first thing that is not a directory.
DirectoryStack Merger::stack_of(const DirectoryStack& above,
                                std::span<const Candidate> same_name) const {
  DirectoryStack stack;
  for (const Candidate& candidate : same_name) {
    const uint32_t layer = above.visible[candidate.rank].layer;
    const Inode* inode = inode_at(layer, candidate.inode);
    if (!inode->is_directory()) {
      stack.cut = true;
      return stack;
    }
    (stack.cut ? stack.hidden : stack.visible).push_back({layer, inode});
    stack.cut = stack.cut || inode->opaque;
  }
  for (const LayerInode& lower : above.hidden) {
    const auto& children = lower.inode->children;
    const auto found =
        std::lower_bound(children.begin(), children.end(), same_name.front().name,
                         [](const DirEntry& a, std::string_view name) { return a.name < name; });
    if (found == children.end() || found->name != same_name.front().name) continue;
    const Inode* inode = inode_at(lower.layer, found->inode);
    if (!inode->is_directory()) break;
    stack.hidden.push_back({lower.layer, inode});
  }
  return stack;
}

Result<uint32_t> Merger::add_directory(DirectoryStack stack) {
  LayerInode attributes = stack.visible.front();
  for (const auto* part : {&stack.visible, &stack.hidden}) {
    for (const LayerInode& source : *part) {
      if (attributes.inode->implicit && !source.inode->implicit) attributes = source;
    }
  }
  TRY(node, add_node(attributes, stack.cut && x_whiteouts == Whiteouts::kKeep));
  x_pending.push_back({node, std::move(stack)});
  return node;
}

Result<uint32_t> Merger::add_leaf(LayerInode leaf) {
  const auto index =
      static_cast<size_t>(leaf.inode - x_tree.layers[leaf.layer].index->inodes.data());
  uint32_t& known = x_leaf_nodes[leaf.layer][index];
  if (known == kNoNode) {
    TRY(node, add_node(leaf, false));
    known = node;
  }
  return known;
}

Result<uint32_t> Merger::add_node(LayerInode from, bool opaque) {
  if (x_tree.nodes.size() >= x_max_nodes || x_tree.nodes.size() >= kNoNode) {
    return make_error(Errc::kInvalid, "layer directories do not form a tree");
  }
  TreeNode& node = x_tree.nodes.emplace_back();
  node.inode = from.inode;
  node.layer = from.layer;
  node.opaque = opaque;
  return static_cast<uint32_t>(x_tree.nodes.size() - 1);
}

}  // namespace

Result<ImageTree> merge_layers(std::vector<PlacedLayer> layers, Whiteouts whiteouts) {
  return Merger(std::move(layers), whiteouts).run();
}

std::string tree_path(const ImageTree& tree, uint32_t node) {
  if (node == 0) return "/";
  std::vector<std::pair<uint32_t, std::string_view>> parent_of(tree.nodes.size(), {kNoNode, {}});
  for (uint32_t parent = 0; parent < tree.nodes.size(); ++parent) {
    for (const TreeChild& child : tree.nodes[parent].children)
      parent_of[child.node] = {parent, child.name};
  }
  std::string path;
  for (size_t steps = 0; node != 0 && node != kNoNode && steps < tree.nodes.size(); ++steps) {
    path.insert(0, "/" + std::string(parent_of[node].second));
    node = parent_of[node].first;
  }
  return path;
}

}  // namespace dedup
