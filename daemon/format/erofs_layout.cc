#include "format/erofs_layout.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "format/erofs_directory.h"

namespace dedup::erofs {
namespace {

constexpr uint64_t kMaxImageBytes = 4ull << 30;
constexpr uint64_t kMaxDevices = 65535;
constexpr uint64_t kMaxNameBytes = 255;
constexpr uint64_t kMaxSymlinkBytes = 4095;

class LayoutPass {
 public:
  LayoutPass(const ImageTree& tree, const ErofsOptions& options, const XattrTable& xattrs)
      : x_tree(tree), x_options(options), x_xattrs(xattrs) {}

  Result<Layout> run();

 private:
  Result<void> place_node(uint32_t node);
  Result<void> check_attributes(const Inode& inode) const;
  Result<void> plan_directory(uint32_t node);
  Result<void> plan_symlink(uint32_t node);
  Result<void> plan_regular(uint32_t node);
  Result<void> check_holes(const ChunkPlan& plan, uint64_t file_bytes);
  void plan_flat(uint32_t node, uint64_t bytes);
  void place(uint32_t node, uint64_t inline_bytes, uint64_t index_count);
  uint64_t segment_bytes(uint32_t segment);
  Result<void> finish_devices();
  void finish_blocks();

  const ImageTree& x_tree;
  const ErofsOptions& x_options;
  const XattrTable& x_xattrs;
  Layout x_layout;
  // End of the inodes placed so far, bytes from the start of the inode area. Slot 0 stays empty:
  // readdir(3) of glibc skips entries whose inode number is 0.
  uint64_t x_cursor = kNidBytes;
  uint64_t x_data_blocks = 0;                         // flat data outside inodes, so far
  std::unordered_map<uint32_t, uint64_t> x_segments;  // bytes of each segment in use
};

Result<Layout> LayoutPass::run() {
  if (x_tree.nodes.empty() || !x_tree.nodes[0].inode || !x_tree.nodes[0].inode->is_directory()) {
    return make_error(Errc::kInvalid, "tree without a root directory");
  }
  x_layout.nodes.resize(x_tree.nodes.size());
  x_layout.parents.resize(x_tree.nodes.size());
  for (uint32_t node = 0; node < x_tree.nodes.size(); ++node) {
    auto placed = place_node(node);
    if (!placed.ok()) return std::move(placed).error().with(tree_path(x_tree, node));
    if (x_cursor + x_data_blocks * kBlockBytes > kMaxImageBytes) {
      return make_error(Errc::kInvalid, tree_path(x_tree, node) + ": metadata image over 4 GiB");
    }
  }
  TRY(finish_devices());
  finish_blocks();
  if (x_layout.blocks * kBlockBytes > kMaxImageBytes)
    return make_error(Errc::kInvalid, "/: metadata image over 4 GiB");
  return std::move(x_layout);
}

Result<void> LayoutPass::place_node(uint32_t node) {
  const Inode& inode = *x_tree.nodes[node].inode;
  TRY(check_attributes(inode));
  x_layout.nodes[node].link_count = inode.link_count;
  switch (inode.mode & S_IFMT) {
    case S_IFDIR:
      return plan_directory(node);
    case S_IFLNK:
      return plan_symlink(node);
    case S_IFREG:
      return plan_regular(node);
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
      place(node, 0, 0);
      return {};
    default:
      return make_error(Errc::kInvalid, "unknown file type");
  }
}

Result<void> LayoutPass::check_attributes(const Inode& inode) const {
  if (inode.mode > 0xFFFF) return make_error(Errc::kInvalid, "mode over 16 bits");
  if (inode.mtime_nanoseconds >= 1'000'000'000)
    return make_error(Errc::kInvalid, "mtime nanoseconds over 10^9");
  // Linux new_encode_dev: 12 bits of major, 20 of minor.
  if (inode.rdev_major >= 1u << 12 || inode.rdev_minor >= 1u << 20) {
    return make_error(Errc::kInvalid, "device number over 12:20 bits");
  }
  return {};
}

Result<void> LayoutPass::plan_directory(uint32_t node) {
  const TreeNode& directory = x_tree.nodes[node];
  uint32_t subdirectories = 0;
  std::string_view previous;
  for (const TreeChild& child : directory.children) {
    const std::string_view name = child.name;
    if (name.empty() || name.size() > kMaxNameBytes || name == "." || name == ".." ||
        name.find('/') != name.npos || name.find('\0') != name.npos) {
      return make_error(Errc::kInvalid,
                        "entry name is empty, over 255 bytes, a dot name, or holds '/' or NUL");
    }
    if (name <= previous) return make_error(Errc::kInvalid, "entries unsorted or duplicate");
    previous = name;
    if (child.node == 0 || child.node >= x_tree.nodes.size())
      return make_error(Errc::kInvalid, "entry without a node");
    if (!x_tree.nodes[child.node].inode->is_directory()) continue;
    ++subdirectories;
    x_layout.parents[child.node] = node;
  }
  x_layout.nodes[node].link_count =
      2 + subdirectories;  // of the merged directory, which may exceed that of any layer
  plan_flat(node, directory_bytes(directory));
  return {};
}

Result<void> LayoutPass::plan_symlink(uint32_t node) {
  const std::string& target = x_tree.nodes[node].inode->symlink_target;
  if (target.empty() || target.size() > kMaxSymlinkBytes || target.find('\0') != target.npos) {
    return make_error(Errc::kInvalid, "symlink target is empty, over 4095 bytes or holds NUL");
  }
  plan_flat(node, target.size());
  return {};
}

Result<void> LayoutPass::plan_regular(uint32_t node) {
  const TreeNode& file = x_tree.nodes[node];
  const uint64_t bytes = file.inode->size;
  NodeLayout& layout = x_layout.nodes[node];
  layout.data_bytes = bytes;
  if (bytes > INT64_MAX) return make_error(Errc::kInvalid, "file over 2^63 bytes");
  if (file.layer >= x_tree.layers.size()) return make_error(Errc::kInvalid, "file of no layer");
  const PlacedLayer& layer = x_tree.layers[file.layer];
  TRY(extents, file_extents(layer, *file.inode));
  if (bytes == 0) {
    if (!extents.extents.empty()) return make_error(Errc::kInvalid, "empty file with extents");
    place(node, 0, 0);
    return {};
  }
  TRY(plan, plan_chunks(extents, bytes, layer.index->chunk_bytes,
                        [this](uint32_t segment) { return segment_bytes(segment); }));
  if (plan.count > kMaxImageBytes / sizeof(ChunkIndex))
    return make_error(Errc::kInvalid, "chunk indexes over 4 GiB");
  if (plan.has_holes) TRY(check_holes(plan, bytes));
  layout.layout = DataLayout::kChunkBased;
  layout.chunk_bits = static_cast<uint8_t>(plan.chunk_bits);
  place(node, 0, plan.count);
  return {};
}

Result<void> LayoutPass::check_holes(const ChunkPlan& plan, uint64_t file_bytes) {
  const uint64_t hole_bytes = std::min(uint64_t{1} << plan.chunk_bits, file_bytes);
  if (blocks_of(segment_bytes(x_options.zero_segment)) < blocks_of(hole_bytes)) {
    return make_error(Errc::kInvalid, "zero segment is smaller than a hole of one chunk");
  }
  return {};
}

// A tail lies in the block that holds its inode and the whole xattr body: kernels differ in what
// else they accept.
void LayoutPass::plan_flat(uint32_t node, uint64_t bytes) {
  NodeLayout& layout = x_layout.nodes[node];
  layout.data_bytes = bytes;
  const uint64_t tail = bytes % kBlockBytes;
  const bool tail_fits =
      tail != 0 && sizeof(InodeExtended) + x_xattrs.body_bytes(node) + tail <= kBlockBytes;
  layout.layout = tail_fits ? DataLayout::kFlatInline : DataLayout::kFlatPlain;
  layout.first_block = static_cast<uint32_t>(x_data_blocks);  // relative until finish_blocks()
  x_data_blocks += tail_fits ? bytes / kBlockBytes : blocks_of(bytes);
  place(node, tail_fits ? tail : 0, 0);
}

void LayoutPass::place(uint32_t node, uint64_t inline_bytes, uint64_t index_count) {
  uint64_t bytes = sizeof(InodeExtended) + x_xattrs.body_bytes(node);
  uint64_t at = round_up(x_cursor, kNidBytes);
  const uint64_t unbroken = inline_bytes != 0 ? bytes + inline_bytes : sizeof(InodeExtended);
  if (at / kBlockBytes != (at + unbroken - 1) / kBlockBytes) at = round_up(at, kBlockBytes);
  if (index_count != 0)
    bytes = round_up(bytes, sizeof(ChunkIndex)) + index_count * sizeof(ChunkIndex);
  x_layout.nodes[node].nid = at / kNidBytes;
  x_cursor = at + bytes + inline_bytes;
}

uint64_t LayoutPass::segment_bytes(uint32_t segment) {
  const auto [at, fresh] = x_segments.try_emplace(segment, 0);
  if (fresh) at->second = x_options.segment_bytes ? x_options.segment_bytes(segment) : 0;
  return at->second;
}

Result<void> LayoutPass::finish_devices() {
  for (const auto& [segment, bytes] : x_segments) x_layout.devices.push_back(segment);
  std::sort(x_layout.devices.begin(), x_layout.devices.end());
  if (x_layout.devices.size() > kMaxDevices)
    return make_error(Errc::kInvalid, "/: image needs more than 65535 devices");
  for (const uint32_t segment : x_layout.devices) {
    const uint64_t blocks = blocks_of(x_segments[segment]);
    if (blocks > UINT32_MAX) {
      return make_error(Errc::kInvalid, "/: segment " + std::to_string(segment) + " over 16 TiB");
    }
    x_layout.device_blocks.push_back(blocks);
  }
  return {};
}

void LayoutPass::finish_blocks() {
  const uint64_t header = kDeviceTableOffset + x_layout.devices.size() * sizeof(DeviceSlot);
  const uint64_t header_blocks = blocks_of(header);
  const uint64_t shared_blocks = blocks_of(x_xattrs.shared_area().size());
  if (shared_blocks != 0) x_layout.shared_xattr_block = header_blocks;
  x_layout.meta_block = header_blocks + shared_blocks;
  x_layout.data_block = x_layout.meta_block + blocks_of(x_cursor);
  x_layout.blocks = x_layout.data_block + x_data_blocks;
  for (NodeLayout& node : x_layout.nodes)
    node.first_block += static_cast<uint32_t>(x_layout.data_block);
}

}  // namespace

uint16_t Layout::device_id(uint32_t segment) const {
  const auto at = std::lower_bound(devices.begin(), devices.end(), segment);
  return static_cast<uint16_t>(at - devices.begin() + 1);
}

Result<Layout> compute_layout(const ImageTree& tree, const ErofsOptions& options,
                              const XattrTable& xattrs) {
  return LayoutPass(tree, options, xattrs).run();
}

}  // namespace dedup::erofs
