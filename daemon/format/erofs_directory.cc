#include "format/erofs_directory.h"

#include <sys/stat.h>

#include <vector>

#include "format/erofs_format.h"

namespace dedup::erofs {
namespace {

// Calls visit(name, node) for each entry in on-disk order: children, "." and "..". They need not
// come first: "!" sorts before them, and the kernel's lookup is a binary search over all names.
template <typename Visit>
void for_each_entry(const TreeNode& directory, uint32_t self, uint32_t parent, const Visit& visit) {
  const TreeChild dots[] = {{".", self}, {"..", parent}};
  size_t dot = 0;
  for (const TreeChild& child : directory.children) {
    while (dot < 2 && dots[dot].name < child.name) visit(dots[dot++]);
    visit(child);
  }
  while (dot < 2) visit(dots[dot++]);
}

uint8_t file_type(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return 1;
    case S_IFDIR:
      return 2;
    case S_IFCHR:
      return 3;
    case S_IFBLK:
      return 4;
    case S_IFIFO:
      return 5;
    case S_IFSOCK:
      return 6;
    case S_IFLNK:
      return 7;
    default:
      return 0;
  }
}

class BlockPacker {
 public:
  BlockPacker(const ImageTree& tree, const std::function<uint64_t(uint32_t)>& nid, Bytes& out)
      : x_tree(tree), x_nid(nid), x_out(out), x_start(out.size()) {}

  void add(const TreeChild& entry) {
    const uint64_t need = sizeof(Dirent) + entry.name.size();
    if (x_used + need > kBlockBytes) {
      flush();
      x_out.resize(x_start + round_up(x_out.size() - x_start, kBlockBytes));
    }
    x_entries.push_back(entry);
    x_used += need;
  }

  void flush() {
    uint64_t name_offset = x_entries.size() * sizeof(Dirent);
    for (const TreeChild& entry : x_entries) {
      const Dirent dirent{x_nid(entry.node), static_cast<uint16_t>(name_offset),
                          file_type(x_tree.nodes[entry.node].inode->mode), 0};
      const auto bytes = std::as_bytes(std::span(&dirent, 1));
      x_out.insert(x_out.end(), bytes.begin(), bytes.end());
      name_offset += entry.name.size();
    }
    for (const TreeChild& entry : x_entries) {
      const auto bytes = as_bytes(entry.name);
      x_out.insert(x_out.end(), bytes.begin(), bytes.end());
    }
    x_entries.clear();
    x_used = 0;
  }

 private:
  const ImageTree& x_tree;
  const std::function<uint64_t(uint32_t)>& x_nid;
  Bytes& x_out;
  size_t x_start;
  uint64_t x_used = 0;
  std::vector<TreeChild> x_entries;
};

}  // namespace

uint64_t directory_bytes(const TreeNode& directory) {
  uint64_t full = 0;
  uint64_t used = 0;
  for_each_entry(directory, 0, 0, [&](const TreeChild& entry) {
    const uint64_t need = sizeof(Dirent) + entry.name.size();
    if (used + need > kBlockBytes) {
      full += kBlockBytes;
      used = 0;
    }
    used += need;
  });
  return full + used;
}

void append_directory(const ImageTree& tree, uint32_t self, uint32_t parent,
                      const std::function<uint64_t(uint32_t node)>& nid, Bytes& out) {
  BlockPacker packer(tree, nid, out);
  for_each_entry(tree.nodes[self], self, parent,
                 [&](const TreeChild& entry) { packer.add(entry); });
  packer.flush();
}

}  // namespace dedup::erofs
