// TreeMaker: a LayerIndex with slots, inode by inode, without the path rules of LayerBuilder.
// SegmentSet: pool segments as real sparse files, filled with bytes that no other place of the set
// has. For tests of the tree and EROFS code.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "format/image_tree.h"

namespace dedup::test {

class TempDir {
 public:
  TempDir() {
    const char* base = std::getenv("TMPDIR");
    std::string name = std::string(base != nullptr ? base : "/tmp") + "/dedup-format-XXXXXX";
    x_path = ::mkdtemp(name.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(x_path, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return x_path; }

 private:
  std::string x_path;
};

class TreeMaker {
 public:
  explicit TreeMaker(uint32_t chunk_bytes = kDefaultChunkBytes) {
    x_index.chunk_bytes = chunk_bytes;
    x_index.inodes.push_back(make(S_IFDIR | 0755));
    x_places.emplace_back();
  }

  static Inode make(uint32_t mode) {
    Inode inode;
    inode.mode = mode;
    return inode;
  }

  // Adds `inode` at `path` ("a/b"); missing parents are created implicit.
  InodeIndex add(const std::string& path, Inode inode) {
    const auto [parent, name] = parent_of(path);
    const auto index = static_cast<InodeIndex>(x_index.inodes.size());
    x_index.inodes.push_back(std::move(inode));
    x_places.emplace_back();
    x_index.inodes[parent].children.push_back({name, index});
    return index;
  }
  InodeIndex directory(const std::string& path, uint32_t mode = 0755) {
    return add(path, make(S_IFDIR | mode));
  }
  InodeIndex file(const std::string& path, uint64_t size = 0, uint32_t mode = 0644) {
    Inode inode = make(S_IFREG | mode);
    inode.size = size;
    return add(path, std::move(inode));
  }
  InodeIndex symlink(const std::string& path, const std::string& target) {
    Inode inode = make(S_IFLNK | 0777);
    inode.symlink_target = target;
    inode.size = target.size();
    return add(path, std::move(inode));
  }
  InodeIndex whiteout(const std::string& path) { return add(path, make(S_IFCHR)); }
  void link(const std::string& path, InodeIndex target) {
    const auto [parent, name] = parent_of(path);
    x_index.inodes[parent].children.push_back({name, target});
  }
  void extent(InodeIndex inode, uint64_t file_offset, uint64_t bytes, Slot slot) {
    Extent extent;
    extent.file_offset = file_offset;
    extent.bytes = bytes;
    x_places[inode].push_back({extent, slot});
  }
  Inode& at(InodeIndex inode) { return x_index.inodes[inode]; }

  PlacedLayer finish() {
    auto slots = std::make_shared<std::vector<Slot>>();
    std::vector<uint32_t> names(x_index.inodes.size());
    for (InodeIndex i = 0; i < x_index.inodes.size(); ++i) {
      Inode& inode = x_index.inodes[i];
      std::sort(inode.children.begin(), inode.children.end(),
                [](const DirEntry& a, const DirEntry& b) { return a.name < b.name; });
      for (const DirEntry& child : inode.children) ++names[child.inode];
      inode.first_extent = static_cast<uint32_t>(x_index.extents.size());
      inode.extent_count = static_cast<uint32_t>(x_places[i].size());
      for (const auto& [extent, slot] : x_places[i]) {
        x_index.extents.push_back(extent);
        slots->push_back(slot);
      }
    }
    for (InodeIndex i = 0; i < x_index.inodes.size(); ++i) {
      Inode& inode = x_index.inodes[i];
      inode.link_count = inode.is_directory() ? 2 : names[i];
      for (const DirEntry& child : inode.children) {
        if (x_index.inodes[child.inode].is_directory()) ++inode.link_count;
      }
    }
    return {std::make_shared<const LayerIndex>(std::move(x_index)), std::move(slots)};
  }

 private:
  std::pair<InodeIndex, std::string> parent_of(const std::string& path) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return {kRootInode, path};
    return {find_directory(path.substr(0, slash)), path.substr(slash + 1)};
  }
  InodeIndex find_directory(const std::string& path) {
    if (const auto known = x_directories.find(path); known != x_directories.end())
      return known->second;
    const auto [parent, name] = parent_of(path);
    for (const DirEntry& child : x_index.inodes[parent].children) {
      if (child.name == name) return x_directories[path] = child.inode;
    }
    Inode inode = make(S_IFDIR | 0755);
    inode.implicit = true;
    return x_directories[path] = add(path, std::move(inode));
  }

  LayerIndex x_index;
  std::vector<std::vector<std::pair<Extent, Slot>>> x_places;
  std::map<std::string, InodeIndex> x_directories;
};

class SegmentSet {
 public:
  // Segment 0 is `hole_bytes` of hole, for holes to point at.
  SegmentSet(const TempDir& dir, uint64_t hole_bytes) : x_dir(dir) {
    open(0);
    EXPECT_EQ(::ftruncate(x_files.at(0).get(), static_cast<off_t>(hole_bytes)), 0);
    x_bytes[0] = hole_bytes;
  }

  // A new slot of `bytes` bytes of noise in `segment`.
  Slot fill(uint32_t segment, uint64_t bytes) {
    if (x_files.find(segment) == x_files.end()) open(segment);
    uint64_t& end = x_bytes[segment];
    const Slot slot{segment, end};
    std::string noise(bytes, '\0');
    for (size_t i = 0; i < noise.size(); i += 8) {
      const uint64_t word = x_random();
      std::copy_n(reinterpret_cast<const char*>(&word), std::min<size_t>(8, noise.size() - i),
                  noise.data() + i);
    }
    EXPECT_EQ(
        ::pwrite(x_files.at(segment).get(), noise.data(), noise.size(), static_cast<off_t>(end)),
        static_cast<ssize_t>(bytes));
    end = (end + bytes + kPoolBlockBytes - 1) / kPoolBlockBytes * kPoolBlockBytes;
    EXPECT_EQ(::ftruncate(x_files.at(segment).get(), static_cast<off_t>(end)), 0);
    return slot;
  }

  std::string read(Slot slot, uint64_t offset, uint64_t bytes) const {
    std::string text(bytes, '\0');
    EXPECT_EQ(::pread(x_files.at(slot.segment).get(), text.data(), bytes,
                      static_cast<off_t>(slot.offset + offset)),
              static_cast<ssize_t>(bytes));
    return text;
  }
  uint64_t bytes(uint32_t segment) const {
    const auto at = x_bytes.find(segment);
    return at == x_bytes.end() ? 0 : at->second;
  }
  std::string path(uint32_t segment) const {
    return x_dir.path() + "/segment-" + std::to_string(segment);
  }

 private:
  void open(uint32_t segment) {
    x_files.emplace(segment,
                    UniqueFd(::open(path(segment).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)));
  }

  const TempDir& x_dir;
  std::map<uint32_t, UniqueFd> x_files;
  std::map<uint32_t, uint64_t> x_bytes;
  std::mt19937_64 x_random{1};
};

}  // namespace dedup::test
