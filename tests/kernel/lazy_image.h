// A directory with an EROFS image whose files lie in sparse segments, one file per segment, at the
// same offsets, and what those files must contain: every 8-byte word of a pattern file depends on
// segment and offset, so zeros, stale and misplaced bytes are all told apart. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace dedup::test {

struct LazyFile {
  std::string name;
  uint32_t segment = 0;
  uint64_t bytes = 0;
  std::string content = {};  // empty: the pattern
  uint32_t mode = 0644;
};

// "data", a pattern file in segment 5.
inline std::vector<LazyFile> one_file(uint64_t bytes = 64 << 20) {
  return {{"data", 5, bytes}};
}

// Bytes [offset, +out.size()) of the pattern of `segment`; both multiples of 8.
void fill_pattern(uint32_t segment, uint64_t offset, std::span<std::byte> out);
// First offset in `bytes`, which start at `offset` of the pattern, that is wrong; bytes.size() when
// none is.
size_t first_wrong(uint32_t segment, uint64_t offset, std::span<const std::byte> bytes);

class LazyImage {
 public:
  // Creates "image.erofs", "mnt/" and one sparse "SEGMENT.data" per file in `directory`.
  static Result<LazyImage> create(std::string directory, std::vector<LazyFile> files);
  // One made earlier, by another process.
  static LazyImage at(std::string directory, std::vector<LazyFile> files);

  const std::vector<LazyFile>& files() const { return x_files; }
  std::string image() const { return x_directory + "/image.erofs"; }
  std::string mount_point() const { return x_directory + "/mnt"; }
  std::string segment_path(uint32_t segment) const;
  Result<UniqueFd> open_segment(uint32_t segment) const;
  std::vector<uint32_t> segments() const;  // in device-slot order

 private:
  LazyImage(std::string directory, std::vector<LazyFile> files)
      : x_directory(std::move(directory)), x_files(std::move(files)) {}
  Result<void> create_segments() const;
  Result<void> write_image();

  std::string x_directory;
  std::vector<LazyFile> x_files;
};

// mkdtemp under TMPDIR; removed with all it contains (not across mounts) at the end.
class ScratchDirectory {
 public:
  ScratchDirectory();
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const std::string& path() const { return x_path; }

 private:
  std::string x_path;
};

}  // namespace dedup::test
