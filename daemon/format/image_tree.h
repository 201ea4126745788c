// ImageTree: the layers of a chain merged into one tree, bottom to top, with whiteouts and opaque
// directories applied. Nodes borrow inodes from the layers, which are kept alive by shared_ptr.
// Built by merge_layers; read-only afterwards; any thread.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/layer_index.h"

namespace dedup {

// A layer whose extents have places in the pool: slots[i] is where index->extents[i] lives.
struct PlacedLayer {
  std::shared_ptr<const LayerIndex> index;
  std::shared_ptr<const std::vector<Slot>> slots;
};

struct TreeChild {
  std::string_view name;  // borrowed from the layer
  uint32_t node = 0;
};

struct TreeNode {
  const Inode* inode = nullptr;     // attributes, size, xattrs, link target
  uint32_t layer = 0;               // whose extents and slots the inode's first_extent points into
  bool opaque = false;              // only with keep_whiteouts: must stay visible to overlayfs
  std::vector<TreeChild> children;  // sorted bytewise
};

struct ImageTree {
  std::vector<PlacedLayer> layers;
  std::vector<TreeNode> nodes;  // [0] is the root; hard links of one layer share one node
};

enum class Whiteouts : uint8_t {
  kApply,  // the chain is complete: whiteouts delete and disappear
  kKeep,   // the tree will lie over other overlay lowerdirs: remaining whiteouts and opaque marks
           // stay in the tree
};

// Merges layers[0] (bottom) .. layers.back() (top).
//   A directory over a directory merges unless opaque; its attributes come from the topmost layer
//   where it is not implicit. Anything else replaces what is below. Hard links keep the link count
//   their layer gave them: overlayfs shows the same. errors  kInvalid when layers is empty.
Result<ImageTree> merge_layers(std::vector<PlacedLayer> layers, Whiteouts whiteouts);

// Path of a node from the root, "/a/b" (of one of its names when hard-linked). Walks the whole
// tree: for error texts.
std::string tree_path(const ImageTree& tree, uint32_t node);

}  // namespace dedup
