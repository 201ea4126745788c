// What tests of the recorder need: an image of two layers on an EROFS mount, cgroups of
// their own, and readers that live in them. The test is not in those cgroups.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "trace/recorder.h"
#include "unit/format/erofs_image.h"
#include "unit/format/tree_maker.h"

namespace dedup::test {

// A directory in the hierarchy, removed at the end.
class TestCgroup {
 public:
  TestCgroup(CgroupHierarchy hierarchy, const std::string& name);
  ~TestCgroup();
  TestCgroup(const TestCgroup&) = delete;
  TestCgroup& operator=(const TestCgroup&) = delete;

  bool valid() const { return !x_path.empty(); }
  const std::string& path() const { return x_path; }
  // Forks a child that enters the cgroup and calls `work`; true when it exits with 0, that is when
  // `work` returns true. The child has to read everything itself: nothing is inherited but memory.
  bool run(const std::function<bool()>& work) const;

 private:
  std::string x_path;
};

// /FILE of each size, every byte on disk; files alternate between two layers.
class RecordedImage {
 public:
  explicit RecordedImage(const std::map<std::string, uint64_t>& files);
  ~RecordedImage();
  // Why it could not be mounted; empty: it is.
  const std::string& missing() const { return x_missing; }
  const std::string& mountpoint() const { return x_mountpoint; }
  std::string path(const std::string& file) const { return x_mountpoint + "/" + file; }
  uint64_t inode(const std::string& file) const;
  // Nothing of its files is in the page cache of the mount any more.
  void drop_cache() const;
  const ImageTree& tree() const { return x_tree; }
  const ErofsOptions& options() const { return x_options; }

 private:
  TempDir x_dir;
  SegmentSet x_segments{x_dir, kDefaultChunkBytes};
  std::vector<std::string> x_files;
  ImageTree x_tree;
  ErofsOptions x_options;
  std::string x_mountpoint;
  std::string x_missing;
};

// Reads through the kernel's page cache; false when it cannot. Without readahead where random.
enum class Readahead : uint8_t { kNormal, kNone };
bool read_range(const std::string& path, ByteRange range, Readahead readahead = Readahead::kNone);
bool send_range(const std::string& path, ByteRange range);  // sendfile
// One access to each page through a mapping of the whole file, at an address that is a multiple of
// 2 MiB, as the windows the kernel maps around a fault are aligned there.
bool touch_mapped(const std::string& path, const std::vector<uint64_t>& pages, Readahead readahead);

// Pages of one file in a list of runs, in order, each once.
std::vector<uint64_t> pages_of(const std::vector<PageRun>& runs, uint64_t inode);

}  // namespace dedup::test
