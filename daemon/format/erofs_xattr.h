// XattrTable: how every xattr of a tree is stored in an EROFS image: in the inode's own xattr body,
// or, when the same name and value occur more than once, in the shared area. Built once per image,
// borrows names and values from the tree. Namespaces that EROFS has no number for are left out, as
// setxattr(2) on any disk file system refuses them. Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "format/image_tree.h"

namespace dedup::erofs {

class XattrTable {
 public:
  // errors  kInvalid naming the path: name over 255 bytes or with NUL, value over 65535 bytes, too
  // many for one inode.
  static Result<XattrTable> build(const ImageTree& tree);

  // Bytes of the node's xattr body; 0 without xattrs, else a multiple of 4 in [16, 262148].
  uint32_t body_bytes(uint32_t node) const { return x_body_bytes[node]; }
  void append_body(uint32_t node, Bytes& out) const;
  // The shared area, at most 16 GiB; empty when nothing is shared.
  const Bytes& shared_area() const { return x_shared_area; }

 private:
  struct Attribute {
    uint8_t prefix = 0;     // e_name_index
    std::string_view name;  // without the prefix
    std::string_view value;
    uint32_t pair = 0;  // equal for attributes of equal prefix, name and value
    bool shared = false;
  };
  struct Pair {
    uint32_t uses = 0;
    uint32_t shared_id = 0;  // offset in the shared area / 4
    bool placed = false;
  };

  Result<void> collect(const ImageTree& tree);
  Result<void> place(const ImageTree& tree);
  Result<void> add(const ImageTree& tree, uint32_t node, std::string_view full_name,
                   std::string_view value);
  void count_pairs();
  void share(Attribute& attribute);
  std::span<const Attribute> attributes_of(uint32_t node) const {
    return std::span(x_attributes).subspan(x_first[node], x_first[node + 1] - x_first[node]);
  }

  std::vector<uint32_t> x_first;  // per node, and one past the last: into x_attributes
  std::vector<Attribute> x_attributes;
  std::vector<Pair> x_pairs;
  std::vector<uint32_t> x_body_bytes;
  Bytes x_shared_area;
};

}  // namespace dedup::erofs
