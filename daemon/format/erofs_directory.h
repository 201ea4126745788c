// The data of one EROFS directory: 4096-byte blocks of dirents followed by their names, sorted
// bytewise with "." and
// ".." in their places; the last block ends with the last name. Pure; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/bytes.h"
#include "format/image_tree.h"

namespace dedup::erofs {

// Bytes append_directory will write. Names are 1 to 255 bytes, sorted and unique: checked by the
// caller.
uint64_t directory_bytes(const TreeNode& directory);

// Appends the directory `self` of `tree`. `nid` gives the inode number of a node.
void append_directory(const ImageTree& tree, uint32_t self, uint32_t parent,
                      const std::function<uint64_t(uint32_t node)>& nid, Bytes& out);

}  // namespace dedup::erofs
