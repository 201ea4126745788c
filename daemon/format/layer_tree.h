// LayerTree: the growing directory tree of one layer, by name; LayerBuilder's inner half. Nodes are
// never destroyed before finish(): replacing a name only detaches what it named, and what no name
// reaches is left out of the index. Owned by one LayerBuilder; one thread at a time.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/entry.h"
#include "format/layer_index.h"

namespace dedup {

class LayerTree {
 public:
  explicit LayerTree(uint64_t max_inodes);

  using Path = std::span<const std::string_view>;

  // The directory at `path`, made with all its parents (implicit, 0755, root) where nothing is.
  //   errors  kInvalid: a component is a file or symlink of this layer; kNoSpace: max_inodes.
  Result<InodeIndex> make_directories(Path path);
  // nullopt when nothing of this layer has that path. Never walks through a symlink.
  std::optional<InodeIndex> find(Path path) const;

  // Gives `name` in `directory` to `inode`. A directory over a directory keeps its children and
  // takes the new attributes; anything else replaces what had the name.
  Result<InodeIndex> place(InodeIndex directory, std::string_view name, Inode inode);
  // Takes the name away from whatever has it.
  void detach(InodeIndex directory, std::string_view name);
  void link(InodeIndex directory, std::string_view name, InodeIndex target);
  // Hides what lower layers have under that name. What this layer has there stays, in whatever
  // order they come.
  Result<void> place_whiteout(InodeIndex directory, std::string_view name);

  Inode& inode(InodeIndex index) { return x_nodes[index].inode; }
  const Inode& inode(InodeIndex index) const { return x_nodes[index].inode; }

  // Grows whenever a directory lost its name: what was resolved before may be gone.
  uint64_t detached_directories() const { return x_detached_directories; }

  // All inodes a name reaches, in order of creation, with children, link counts and opaque marks.
  // first_extent and extent_count are left as they were set through inode(). The tree is empty
  // afterwards.
  std::vector<Inode> finish();

 private:
  // Ordered, so that hostile names cannot make lookups quadratic as they can with a hash.
  using Children = std::map<std::string, InodeIndex, std::less<>>;

  struct Node {
    Inode inode;
    std::unique_ptr<Children> children;  // of directories
    bool whiteout = false;     // made by place_whiteout, and nothing of this layer came since
    bool hides_lower = false;  // the layer has a whiteout of the same path
  };

  Result<InodeIndex> add_node(Inode inode);
  Result<InodeIndex> make_directory(InodeIndex parent, std::string_view name);
  std::optional<InodeIndex> find_child(InodeIndex directory, std::string_view name) const;
  std::vector<InodeIndex> number_reachable();

  uint64_t x_max_inodes;
  uint64_t x_detached_directories = 0;
  std::vector<Node> x_nodes;
};

}  // namespace dedup
