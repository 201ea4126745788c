// LayerBuilder: turns the entries of one layer, in archive order, into a LayerIndex. Owns path
// resolution: cleans
// "./" and "/" prefixes, refuses "..", creates implicit parents (mode 0755, root, mtime 0), lets a
// later entry replace an earlier one of the same path (directory over directory merges), resolves
// hard links inside the layer, never walks through a symlink, and translates whiteouts to overlay
// form. Pure; one thread at a time.
//
// As in containerd a hard link's own mode, owner, mtime and xattrs apply to the inode it names, and
// xattrs nobody could set there (trusted.*, unknown namespaces) are left out. A whiteout hides
// lower layers only: an entry of the same path wins in any order, and a directory of that path
// becomes opaque.
//
//   source  OCI image-spec layer.md; containerd archive/tar.go decides where the spec is silent.
//   errors  kInvalid naming the path and the rule: ".." component, parent that is not a directory
//   (file or symlink),
//           hard link to nothing, to a directory or to itself, name/path/xattr/size limits, uid/gid
//           over 2^32 - 2, entry for "." that is not a directory, extents out of order.
#pragma once

#include <memory>

#include "base/result.h"
#include "format/entry.h"
#include "format/layer_index.h"

namespace dedup {

class LayerBuilder {
 public:
  explicit LayerBuilder(uint32_t chunk_bytes = kDefaultChunkBytes, LayerLimits limits = {});
  ~LayerBuilder();
  LayerBuilder(LayerBuilder&&) noexcept;
  LayerBuilder& operator=(LayerBuilder&&) noexcept;

  // Adds the next entry. A regular file's extents follow through add_extent() before the next
  // add().
  Result<void> add(Entry entry);

  // Adds one extent of the regular file last added, with the chunks that cover it (none: no random
  // access). extent.first_chunk and chunk_count are filled in here.
  Result<void> add_extent(Extent extent, std::span<const Chunk> chunks);

  // The finished index; link counts and sorting are done here. The builder is empty afterwards.
  Result<LayerIndex> finish();

 private:
  struct State;
  std::unique_ptr<State> x_state;
};

}  // namespace dedup
