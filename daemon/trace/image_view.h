// ImageView: the merged tree of an image whose layers are in the pool, looked at from both sides:
// from the inode numbers of its mount, and from the places of its data in the pool. Loaded from the
// layer indexes: blocking, some tens of milliseconds and of MiB for a large image; any thread.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "image/metadata_image.h"
#include "pool/fetcher.h"
#include "trace/image_files.h"

namespace dedup {

class ImageView {
 public:
  // pool_directory, sizes: as the metadata image was built with
  //   errors  those of load_layer_index
  static Result<ImageView> load(const std::string& pool_directory,
                                const std::vector<Digest>& layers, Whiteouts whiteouts,
                                const SegmentSizes& sizes);

  const ImageFiles& files() const { return x_files; }
  std::set<SegmentId> segments() const;

  // What each record brought, by file: of a piece that several files share the first of them that
  // was touched, else the first.
  // touched: by which container. prepared_ns: where the clock of `us` begins
  std::vector<ProfileFetch> fetches_of(const std::vector<FetchRecord>& records,
                                       const std::vector<ProfileEntry>& touched,
                                       uint64_t prepared_ns) const;

 private:
  struct Place {
    SegmentId segment = 0;
    uint64_t offset = 0;  // in it
    uint64_t bytes = 0;
    uint64_t nid = 0;
    uint64_t file_offset = 0;
  };
  ImageFiles x_files;
  std::vector<Place> x_places;  // by segment, offset
};

}  // namespace dedup
