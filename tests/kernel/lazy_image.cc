#include "kernel/lazy_image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include "base/bytes.h"
#include "format/erofs_writer.h"

namespace dedup::test {
namespace {

// splitmix64
constexpr uint64_t word_at(uint32_t segment, uint64_t offset) {
  uint64_t z = offset + (uint64_t{segment} << 48) + 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

ImageTree tree_of(const std::vector<LazyFile>& files) {
  auto index = std::make_shared<LayerIndex>();
  auto slots = std::make_shared<std::vector<Slot>>();
  index->inodes.resize(1 + files.size());
  Inode& root = index->inodes[0];
  root.mode = S_IFDIR | 0755;
  root.link_count = 2;
  for (size_t i = 0; i < files.size(); ++i) {
    Inode& inode = index->inodes[1 + i];
    inode.mode = S_IFREG | files[i].mode;
    inode.size = files[i].bytes;
    inode.first_extent = static_cast<uint32_t>(i);
    inode.extent_count = 1;
    Extent extent;
    extent.bytes = files[i].bytes;
    index->extents.push_back(extent);
    slots->push_back({files[i].segment, 0});
    root.children.push_back({files[i].name, static_cast<InodeIndex>(1 + i)});
  }
  ImageTree tree;
  tree.layers.push_back({index, slots});
  tree.nodes.resize(index->inodes.size());
  for (size_t i = 0; i < tree.nodes.size(); ++i) tree.nodes[i].inode = &index->inodes[i];
  for (size_t i = 0; i < files.size(); ++i) {
    tree.nodes[0].children.push_back(
        {index->inodes[0].children[i].name, static_cast<uint32_t>(1 + i)});
  }
  return tree;
}

}  // namespace

void fill_pattern(uint32_t segment, uint64_t offset, std::span<std::byte> out) {
  for (size_t i = 0; i + 8 <= out.size(); i += 8) {
    store_le(out.subspan(i), word_at(segment, offset + i));
  }
}

size_t first_wrong(uint32_t segment, uint64_t offset, std::span<const std::byte> bytes) {
  for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    if (load_le<uint64_t>(bytes.subspan(i)) != word_at(segment, offset + i)) return i;
  }
  return bytes.size();
}

Result<LazyImage> LazyImage::create(std::string directory, std::vector<LazyFile> files) {
  std::ranges::sort(files, {}, &LazyFile::name);
  LazyImage image(std::move(directory), std::move(files));
  if (mkdir(image.mount_point().c_str(), 0755) != 0) return errno_error(errno, "mkdir");
  TRY(image.create_segments());
  TRY(image.write_image());
  return image;
}

LazyImage LazyImage::at(std::string directory, std::vector<LazyFile> files) {
  std::ranges::sort(files, {}, &LazyFile::name);
  return LazyImage(std::move(directory), std::move(files));
}

std::string LazyImage::segment_path(uint32_t segment) const {
  return x_directory + "/" + std::to_string(segment) + ".data";
}

Result<UniqueFd> LazyImage::open_segment(uint32_t segment) const {
  UniqueFd fd(::open(segment_path(segment).c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return errno_error(errno, segment_path(segment));
  return fd;
}

// write_erofs orders devices by segment, which write_image() checks.
std::vector<uint32_t> LazyImage::segments() const {
  std::vector<uint32_t> segments;
  for (const auto& file : x_files) segments.push_back(file.segment);
  std::ranges::sort(segments);
  return segments;
}

Result<void> LazyImage::create_segments() const {
  for (const auto& file : x_files) {
    const UniqueFd fd(
        ::open(segment_path(file.segment).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    const auto bytes = static_cast<off_t>(round_up(file.bytes, 4096));
    if (!fd.valid() || ftruncate(fd.get(), bytes) != 0) {
      return errno_error(errno, segment_path(file.segment));
    }
  }
  return {};
}

Result<void> LazyImage::write_image() {
  const UniqueFd fd(::open(image().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return errno_error(errno, image());
  ErofsOptions options;
  options.segment_bytes = [this](uint32_t segment) -> uint64_t {
    for (const auto& file : x_files) {
      if (file.segment == segment) return round_up(file.bytes, 4096);
    }
    return 4096;
  };
  TRY(written,
      write_erofs(tree_of(x_files), options, [&](std::span<const std::byte> bytes) -> Result<void> {
        const auto done = ::write(fd.get(), bytes.data(), bytes.size());
        if (done == static_cast<ssize_t>(bytes.size())) return {};
        return errno_error(errno, "write of the image");
      }));
  if (written.devices == segments()) return {};
  return make_error(Errc::kInvalid, "write_erofs gave another order of devices");
}

ScratchDirectory::ScratchDirectory() {
  const char* parent = std::getenv("TMPDIR");
  x_path = std::string(parent != nullptr ? parent : "/tmp") + "/dedup-kernel-XXXXXX";
  if (mkdtemp(x_path.data()) == nullptr) std::abort();
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(x_path, ignored);
}

}  // namespace dedup::test
