// ImageFiles: which file of an image an inode number of its mount means: path and layer, as a
// profile names it. Built from the tree the metadata image was written from. Any thread may read.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "format/image_tree.h"
#include "trace/page_runs.h"
#include "trace/profile.h"

namespace dedup {

struct ImageFile {
  std::string path;    // of a hard-linked file the first of its names, bytewise
  uint32_t layer = 0;  // into ImageFiles::layers()
  uint64_t bytes = 0;
};

class ImageFiles {
 public:
  // node_nid: of write_erofs or plan_erofs for this tree; layers: digests of tree.layers.
  //   errors  kInvalid: they do not belong together
  static Result<ImageFiles> build(const ImageTree& tree, std::span<const uint32_t> node_nid,
                                  std::vector<Digest> layers);

  // Regular files with data that a profile can name; null for others.
  const ImageFile* find(uint64_t nid) const;
  const std::vector<Digest>& layers() const { return x_layers; }  // bottom first
  size_t size() const { return x_files.size(); }

 private:
  std::unordered_map<uint64_t, ImageFile> x_files;
  std::vector<Digest> x_layers;
};

// The profile of one recorded start. Image and entrypoint are the caller's to fill in.
//   device    of the image's mount: the rest of the recording is left out
//   start_ns  when the container started, CLOCK_MONOTONIC; earlier touches count as at the start
Profile profile_of(const Recording& recording, Sight sight, uint32_t device,
                   const ImageFiles& files, uint64_t start_ns);

}  // namespace dedup
