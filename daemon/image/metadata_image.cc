#include "image/metadata_image.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "pool/files.h"

namespace dedup {
namespace {

// Depth-first over the tree; notes the first file found for each segment.
class ProbeFinder {
 public:
  explicit ProbeFinder(const ImageTree& tree) : x_tree(tree) {}

  std::map<SegmentId, ProbeFile> run() {
    visit(0);
    return std::move(x_probes);
  }

 private:
  void visit(uint32_t index) {
    const TreeNode& node = x_tree.nodes[index];
    if (node.inode->is_regular()) note_extents(node);
    for (const TreeChild& child : node.children) {
      const size_t length = x_path.size();
      x_path.append("/").append(child.name);
      visit(child.node);
      x_path.resize(length);
    }
  }

  void note_extents(const TreeNode& node) {
    const PlacedLayer& layer = x_tree.layers[node.layer];
    for (uint32_t i = 0; i < node.inode->extent_count; ++i) {
      const uint32_t extent = node.inode->first_extent + i;
      const Slot& slot = (*layer.slots)[extent];
      x_probes.try_emplace(
          slot.segment, ProbeFile{x_path, layer.index->extents[extent].file_offset, slot.offset});
    }
  }

  const ImageTree& x_tree;
  std::string x_path;
  std::map<SegmentId, ProbeFile> x_probes;
};

// Collects small writes into large ones.
class FileSink {
 public:
  FileSink(int fd, const std::string& path) : x_fd(fd), x_path(path) {}

  Result<void> append(std::span<const std::byte> bytes) {
    x_buffer.insert(x_buffer.end(), bytes.begin(), bytes.end());
    return x_buffer.size() >= kBufferBytes ? flush() : Result<void>();
  }

  Result<void> flush() {
    TRY(write_exactly(x_fd, x_buffer, x_offset, x_path));
    x_offset += x_buffer.size();
    x_buffer.clear();
    return {};
  }

 private:
  static constexpr size_t kBufferBytes = 1u << 20;
  int x_fd;
  const std::string& x_path;
  Bytes x_buffer;
  uint64_t x_offset = 0;
};

}  // namespace

SegmentSizes segment_sizes(const Pool& pool) {
  SegmentSizes sizes{{kZeroSegment, kZeroSegmentBytes}};
  for (const auto& segment : pool.segments())
    sizes.emplace(segment->id(), segment->header().data_bytes);
  return sizes;
}

ErofsOptions metadata_options(const SegmentSizes& sizes) {
  ErofsOptions options;
  options.zero_segment = kZeroSegment;
  options.segment_bytes = [&sizes](uint32_t segment) {
    const auto found = sizes.find(segment);
    return found == sizes.end() ? 0 : found->second;
  };
  return options;
}

Result<MetadataImage> build_metadata_image(std::vector<PlacedLayer> layers, Whiteouts whiteouts,
                                           const Digest& chain, const SegmentSizes& sizes,
                                           const std::string& path) {
  TRY(tree, merge_layers(std::move(layers), whiteouts));
  ErofsOptions options = metadata_options(sizes);
  std::copy_n(chain.bytes.begin(), options.uuid.size(), options.uuid.begin());
  const std::string temporary = path + ".new";
  TRY(file, open_file(temporary, O_RDWR | O_CREAT | O_TRUNC));
  FileSink sink(file.get(), temporary);
  TRY(image, write_erofs(tree, options,
                         [&sink](std::span<const std::byte> bytes) { return sink.append(bytes); }));
  TRY(sink.flush());
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    return errno_error(errno, "rename " + temporary);
  return MetadataImage{std::move(image.devices), ProbeFinder(tree).run(), image.bytes};
}

}  // namespace dedup
