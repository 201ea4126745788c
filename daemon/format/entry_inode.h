// From Entry to Inode: checks the numbers and texts an entry brings and keeps what an unpacker
// would set. Pure; any thread.
#pragma once

#include <vector>

#include "base/result.h"
#include "format/entry.h"
#include "format/layer_index.h"

namespace dedup {

// The inode `entry` describes, without extents and children. Not for hard links. Takes link_target
// and xattrs out of the entry.
//   errors  kInvalid naming the rule, without the path.
Result<Inode> make_inode(Entry& entry, const LayerLimits& limits);

// What a hard link's own attributes do to the inode it names: an unpacker sets owner, mode, time
// and xattrs through every name, so the last one decides. Takes xattrs out of the entry.
Result<void> apply_link_attributes(Inode& inode, Entry& entry, const LayerLimits& limits);

// Adds `more` to the sorted `xattrs`; a name given again takes the later value.
void merge_xattrs(std::vector<Xattr>& xattrs, std::vector<Xattr> more);

}  // namespace dedup
