#include "format/layer_tree.h"

#include <algorithm>
#include <utility>

#include "format/entry_inode.h"
#include "format/layer_path.h"

namespace dedup {

namespace {

constexpr InodeIndex kUnreachable = UINT32_MAX;

Inode implicit_directory() {
  Inode inode;
  inode.mode = S_IFDIR | 0755;
  inode.implicit = true;
  return inode;
}

// The attributes an entry for an existing directory brings.
void take_attributes(Inode& directory, Inode entry) {
  entry.opaque |= directory.opaque;
  std::vector<Xattr> xattrs = std::exchange(entry.xattrs, {});
  entry.xattrs = std::move(directory.xattrs);
  merge_xattrs(entry.xattrs, std::move(xattrs));
  directory = std::move(entry);
}

}  // namespace

LayerTree::LayerTree(uint64_t max_inodes)
    : x_max_inodes(std::min<uint64_t>(max_inodes, kUnreachable - 1)) {
  x_nodes.push_back({implicit_directory(), std::make_unique<Children>()});
}

Result<InodeIndex> LayerTree::add_node(Inode inode) {
  if (x_nodes.size() > x_max_inodes) {
    return make_error(Errc::kNoSpace,
                      "more than " + std::to_string(x_max_inodes) + " files and directories");
  }
  const auto index = static_cast<InodeIndex>(x_nodes.size());
  auto children = inode.is_directory() ? std::make_unique<Children>() : nullptr;
  x_nodes.push_back({std::move(inode), std::move(children)});
  return index;
}

std::optional<InodeIndex> LayerTree::find_child(InodeIndex directory, std::string_view name) const {
  const auto& children = x_nodes[directory].children;
  if (!children) return std::nullopt;
  const auto found = children->find(name);
  if (found == children->end()) return std::nullopt;
  return found->second;
}

std::optional<InodeIndex> LayerTree::find(Path path) const {
  InodeIndex at = kRootInode;
  for (const std::string_view name : path) {
    const auto child = find_child(at, name);
    if (!child) return std::nullopt;
    at = *child;
  }
  return at;
}

Result<InodeIndex> LayerTree::make_directory(InodeIndex parent, std::string_view name) {
  const auto child = find_child(parent, name);
  if (child && x_nodes[*child].inode.is_directory()) return *child;
  if (child && !x_nodes[*child].whiteout) {
    return make_error(Errc::kInvalid, "parent " + printable_path(name) + " is not a directory");
  }
  return place(parent, name, implicit_directory());
}

Result<InodeIndex> LayerTree::make_directories(Path path) {
  InodeIndex at = kRootInode;
  for (const std::string_view name : path) {
    TRY(next, make_directory(at, name));
    at = next;
  }
  return at;
}

Result<InodeIndex> LayerTree::place(InodeIndex directory, std::string_view name, Inode inode) {
  Children& children = *x_nodes[directory].children;
  const auto at = children.lower_bound(name);
  if (at == children.end() || at->first != name) {
    TRY(added, add_node(std::move(inode)));
    children.emplace_hint(at, name, added);
    return added;
  }
  Node& old = x_nodes[at->second];
  if (old.inode.is_directory() && inode.is_directory()) {
    take_attributes(old.inode, std::move(inode));
    return at->second;
  }
  const bool hides_lower = old.hides_lower;
  if (old.inode.is_directory()) x_detached_directories++;
  TRY(added, add_node(std::move(inode)));
  x_nodes[added].hides_lower = hides_lower;
  at->second = added;
  return added;
}

void LayerTree::detach(InodeIndex directory, std::string_view name) {
  Children& children = *x_nodes[directory].children;
  const auto found = children.find(name);
  if (found == children.end()) return;
  if (x_nodes[found->second].inode.is_directory()) x_detached_directories++;
  children.erase(found);
}

void LayerTree::link(InodeIndex directory, std::string_view name, InodeIndex target) {
  x_nodes[directory].children->insert_or_assign(std::string(name), target);
}

Result<void> LayerTree::place_whiteout(InodeIndex directory, std::string_view name) {
  if (const auto child = find_child(directory, name)) {
    x_nodes[*child].hides_lower = true;
    return {};
  }
  Inode inode;
  inode.mode = S_IFCHR;
  TRY(added, place(directory, name, std::move(inode)));
  x_nodes[added].whiteout = true;
  x_nodes[added].hides_lower = true;
  return {};
}

// Counts names and subdirectories into link_count, and numbers what the root reaches in order of
// creation.
std::vector<InodeIndex> LayerTree::number_reachable() {
  for (Node& node : x_nodes) node.inode.link_count = node.inode.is_directory() ? 2 : 0;
  std::vector<InodeIndex> numbers(x_nodes.size(), kUnreachable);
  std::vector<InodeIndex> pending = {kRootInode};
  while (!pending.empty()) {
    const InodeIndex at = pending.back();
    pending.pop_back();
    numbers[at] = 0;
    for (const auto& [name, child] : *x_nodes[at].children) {
      numbers[child] = 0;
      if (x_nodes[child].inode.is_directory()) {
        x_nodes[at].inode.link_count++;
        pending.push_back(child);
      } else {
        x_nodes[child].inode.link_count++;
      }
    }
  }
  InodeIndex next = 0;
  for (InodeIndex& number : numbers) {
    if (number != kUnreachable) number = next++;
  }
  return numbers;
}

std::vector<Inode> LayerTree::finish() {
  const std::vector<InodeIndex> numbers = number_reachable();
  std::vector<Inode> inodes;
  inodes.reserve(x_nodes.size());
  for (size_t index = 0; index < x_nodes.size(); ++index) {
    if (numbers[index] == kUnreachable) continue;
    Node& node = x_nodes[index];
    Inode& inode = inodes.emplace_back(std::move(node.inode));
    if (!node.children) continue;
    if (node.hides_lower) {
      inode.opaque = true;
      inode.implicit = false;  // the directory whose attributes it would keep is hidden
    }
    inode.children.reserve(node.children->size());
    while (!node.children->empty()) {
      auto child = node.children->extract(node.children->begin());
      inode.children.push_back({std::move(child.key()), numbers[child.mapped()]});
    }
  }
  x_nodes.clear();
  return inodes;
}

}  // namespace dedup
