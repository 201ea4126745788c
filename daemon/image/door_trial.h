// DoorTrial: a tiny image with one lazy page, mounted and read through a door, to learn whether the
// door works here: whatever is missing in kernel, file system or permissions shows itself. Loop
// thread.
#pragma once

#include <string>

#include "base/unique_fd.h"
#include "doors/door.h"
#include "io/workers.h"
#include "pool/segment.h"

namespace dedup {

class DoorTrial {
 public:
  static constexpr SegmentId kSegment = 0xFFFE'0000;  // no segment of a pool has it

  // directory: of the daemon; the trial lives in `trial/` below it and is removed at the end.
  DoorTrial(Workers& workers, std::string directory);

  // The pieces of run(), for those who want to mount the image without a door. Blocking.
  Result<void> create();
  void remove();
  static Result<void> read_back(const std::string& page);  // the page must be what fill() writes
  std::string image_path() const { return x_directory + "/image.erofs"; }
  std::string segment_path() const { return x_directory + "/segment"; }
  std::string mountpoint() const { return x_directory + "/mnt"; }
  std::string page_path() const { return mountpoint() + "/page"; }

  // The filler's part for kSegment.
  bool present() const { return x_filled; }
  Result<void> fill();

  // door: started. Leaves nothing attached and nothing mounted.
  //   errors  kUnsupported, with what did not work
  Task<Result<void>> run(Door& door);

 private:
  Task<Result<void>> mount_and_read(Door& door);

  Workers& x_workers;
  std::string x_directory;
  UniqueFd x_segment;
  bool x_filled = false;
};

}  // namespace dedup
