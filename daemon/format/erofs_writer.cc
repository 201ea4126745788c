#include "format/erofs_writer.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "format/erofs_directory.h"
#include "format/erofs_format.h"
#include "format/erofs_layout.h"
#include "format/erofs_xattr.h"

namespace dedup {
namespace {

using namespace erofs;

constexpr std::array<uint32_t, 256> crc32c_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    table[i] = i;
    for (int bit = 0; bit < 8; ++bit)
      table[i] = (table[i] >> 1) ^ ((table[i] & 1) != 0 ? 0x82F63B78u : 0);
  }
  return table;
}

uint32_t crc32c(uint32_t crc, std::span<const std::byte> bytes) {
  static constexpr auto kTable = crc32c_table();
  for (const std::byte byte : bytes)
    crc = (crc >> 8) ^ kTable[(crc ^ std::to_integer<uint32_t>(byte)) & 0xFF];
  return crc;
}

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

// Linux new_encode_dev.
uint32_t device_number(const Inode& inode) {
  return (inode.rdev_minor & 0xFF) | (inode.rdev_major << 8) | ((inode.rdev_minor & ~0xFFu) << 12);
}

// Collects small pieces into large ones for the sink and knows the position in the image.
class BlockStream {
 public:
  explicit BlockStream(const ErofsSink& sink) : x_sink(sink) {
    x_buffer.reserve(kFlushBytes + 2 * kBlockBytes);
  }

  uint64_t position() const { return x_flushed + x_buffer.size(); }

  Result<void> put(std::span<const std::byte> bytes) {
    x_buffer.insert(x_buffer.end(), bytes.begin(), bytes.end());
    if (x_buffer.size() >= kFlushBytes) return flush();
    return {};
  }

  // Zeros up to image offset `end`, which must not lie behind the position.
  Result<void> pad_to(uint64_t end) {
    if (end < position())
      return make_error(Errc::kInvalid, "EROFS layout is smaller than what was emitted");
    x_buffer.resize(x_buffer.size() + (end - position()));
    if (x_buffer.size() >= kFlushBytes) return flush();
    return {};
  }

  Result<void> flush() {
    if (x_buffer.empty()) return {};
    TRY(x_sink(x_buffer));
    x_flushed += x_buffer.size();
    x_buffer.clear();
    return {};
  }

 private:
  static constexpr size_t kFlushBytes = 64 << 10;
  const ErofsSink& x_sink;
  Bytes x_buffer;
  uint64_t x_flushed = 0;
};

class EmitPass {
 public:
  EmitPass(const ImageTree& tree, const ErofsOptions& options, const XattrTable& xattrs,
           const Layout& layout, const ErofsSink& sink)
      : x_tree(tree), x_options(options), x_xattrs(xattrs), x_layout(layout), x_stream(sink) {}

  Result<void> run();

 private:
  Superblock superblock() const;
  Result<void> emit_header();
  Result<void> emit_inode(uint32_t node);
  Result<void> emit_flat_blocks(uint32_t node);
  void append_inode(uint32_t node, Bytes& out) const;
  void append_flat_data(uint32_t node, Bytes& out) const;
  Result<void> emit_indexes(uint32_t node);

  const ImageTree& x_tree;
  const ErofsOptions& x_options;
  const XattrTable& x_xattrs;
  const Layout& x_layout;
  BlockStream x_stream;
  Bytes x_record;  // one inode or the data of one directory at a time
  Bytes x_flat;
};

Result<void> EmitPass::run() {
  TRY(emit_header());
  if (x_layout.shared_xattr_block != 0) {
    TRY(x_stream.pad_to(x_layout.shared_xattr_block * kBlockBytes));
    TRY(x_stream.put(x_xattrs.shared_area()));
  }
  for (uint32_t node = 0; node < x_tree.nodes.size(); ++node) TRY(emit_inode(node));
  for (uint32_t node = 0; node < x_tree.nodes.size(); ++node) TRY(emit_flat_blocks(node));
  TRY(x_stream.pad_to(x_layout.blocks * kBlockBytes));
  return x_stream.flush();
}

Superblock EmitPass::superblock() const {
  Superblock super{};
  super.magic = kMagic;
  super.feature_compat = kCompatSbChecksum | kCompatMtime;
  super.blkszbits = kBlockBits;
  super.root_nid = static_cast<uint16_t>(x_layout.nodes[0].nid);
  super.inos = x_tree.nodes.size();
  super.build_time = static_cast<uint64_t>(x_options.build_seconds);
  super.blocks = static_cast<uint32_t>(x_layout.blocks);
  super.meta_blkaddr = static_cast<uint32_t>(x_layout.meta_block);
  super.xattr_blkaddr = static_cast<uint32_t>(x_layout.shared_xattr_block);
  std::copy_n(reinterpret_cast<const uint8_t*>(x_options.uuid.data()), x_options.uuid.size(),
              super.uuid);
  super.feature_incompat = kIncompatChunkedFile | kIncompatDeviceTable;
  super.extra_devices = static_cast<uint16_t>(x_layout.devices.size());
  super.devt_slotoff = kDeviceTableOffset / sizeof(DeviceSlot);
  return super;
}

Result<void> EmitPass::emit_header() {
  Bytes header(kDeviceTableOffset);
  Superblock super = superblock();
  std::ranges::copy(bytes_of(super), header.begin() + kSuperOffset);
  for (size_t i = 0; i < x_layout.devices.size(); ++i) {
    DeviceSlot slot{};
    std::snprintf(reinterpret_cast<char*>(slot.tag), sizeof(slot.tag), "%08u", x_layout.devices[i]);
    slot.blocks = static_cast<uint32_t>(x_layout.device_blocks[i]);
    const auto bytes = bytes_of(slot);
    header.insert(header.end(), bytes.begin(), bytes.end());
  }
  header.resize(round_up(header.size(), kBlockBytes));
  super.checksum = crc32c(~0u, std::span(header).subspan(kSuperOffset, kBlockBytes - kSuperOffset));
  std::ranges::copy(bytes_of(super), header.begin() + kSuperOffset);
  return x_stream.put(header);
}

void EmitPass::append_inode(uint32_t node, Bytes& out) const {
  const Inode& inode = *x_tree.nodes[node].inode;
  const NodeLayout& layout = x_layout.nodes[node];
  const uint32_t xattr_bytes = x_xattrs.body_bytes(node);
  InodeExtended disk{};
  disk.format = static_cast<uint16_t>(1 | static_cast<unsigned>(layout.layout) << 1);
  disk.xattr_icount =
      static_cast<uint16_t>(xattr_bytes == 0 ? 0 : (xattr_bytes - sizeof(XattrBodyHeader)) / 4 + 1);
  disk.mode = static_cast<uint16_t>(inode.mode);
  disk.size = layout.data_bytes;
  disk.u = layout.first_block;
  if (S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) disk.u = device_number(inode);
  if (S_ISFIFO(inode.mode) || S_ISSOCK(inode.mode)) disk.u = 0;
  if (layout.layout == DataLayout::kChunkBased)
    disk.u = kChunkFormatIndexes | (layout.chunk_bits - kBlockBits);
  disk.ino = static_cast<uint32_t>(layout.nid);
  disk.uid = inode.uid;
  disk.gid = inode.gid;
  disk.mtime = static_cast<uint64_t>(inode.mtime_seconds);
  disk.mtime_nsec = inode.mtime_nanoseconds;
  disk.nlink = layout.link_count;
  const auto bytes = bytes_of(disk);
  out.insert(out.end(), bytes.begin(), bytes.end());
  x_xattrs.append_body(node, out);
}

void EmitPass::append_flat_data(uint32_t node, Bytes& out) const {
  const Inode& inode = *x_tree.nodes[node].inode;
  if (inode.is_directory()) {
    append_directory(
        x_tree, node, x_layout.parents[node],
        [this](uint32_t other) { return x_layout.nodes[other].nid; }, out);
  } else {
    const auto bytes = as_bytes(inode.symlink_target);
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
}

Result<void> EmitPass::emit_indexes(uint32_t node) {
  const TreeNode& file = x_tree.nodes[node];
  const NodeLayout& layout = x_layout.nodes[node];
  TRY(extents, file_extents(x_tree.layers[file.layer], *file.inode));
  const ChunkPlan plan{layout.chunk_bits, ((layout.data_bytes - 1) >> layout.chunk_bits) + 1,
                       false};
  TRY(x_stream.pad_to(round_up(x_stream.position(), sizeof(ChunkIndex))));
  return emit_chunk_indexes(
      extents, plan, [this](uint32_t segment) { return x_layout.device_id(segment); },
      x_layout.device_id(x_options.zero_segment),
      [this](std::span<const std::byte> indexes) { return x_stream.put(indexes); });
}

Result<void> EmitPass::emit_inode(uint32_t node) {
  const NodeLayout& layout = x_layout.nodes[node];
  x_record.clear();
  append_inode(node, x_record);
  if (layout.layout == DataLayout::kFlatInline) {
    x_flat.clear();
    append_flat_data(node, x_flat);
    if (x_flat.size() != layout.data_bytes)
      return make_error(Errc::kInvalid, "EROFS layout disagrees with a directory");
    const auto tail = std::span(x_flat).subspan(round_down(layout.data_bytes, kBlockBytes));
    x_record.insert(x_record.end(), tail.begin(), tail.end());
  }
  TRY(x_stream.pad_to(x_layout.meta_block * kBlockBytes + layout.nid * kNidBytes));
  TRY(x_stream.put(x_record));
  return layout.layout == DataLayout::kChunkBased ? emit_indexes(node) : Result<void>{};
}

Result<void> EmitPass::emit_flat_blocks(uint32_t node) {
  const NodeLayout& layout = x_layout.nodes[node];
  const Inode& inode = *x_tree.nodes[node].inode;
  if (!inode.is_directory() && !S_ISLNK(inode.mode)) return {};
  const bool has_tail = layout.layout == DataLayout::kFlatInline;
  const uint64_t bytes = has_tail ? round_down(layout.data_bytes, kBlockBytes) : layout.data_bytes;
  if (bytes == 0) return {};
  x_flat.clear();
  append_flat_data(node, x_flat);
  TRY(x_stream.pad_to(layout.first_block * kBlockBytes));
  return x_stream.put(std::span(x_flat).first(bytes));
}

ErofsImage described(const Layout& layout) {
  ErofsImage image;
  image.bytes = layout.blocks * kBlockBytes;
  image.devices = layout.devices;
  image.node_nid.reserve(layout.nodes.size());
  for (const NodeLayout& node : layout.nodes)
    image.node_nid.push_back(static_cast<uint32_t>(node.nid));
  return image;
}

}  // namespace

Result<ErofsImage> write_erofs(const ImageTree& tree, const ErofsOptions& options,
                               const ErofsSink& sink) {
  TRY(xattrs, XattrTable::build(tree));
  TRY(layout, compute_layout(tree, options, xattrs));
  TRY(EmitPass(tree, options, xattrs, layout, sink).run());
  return described(layout);
}

Result<ErofsImage> plan_erofs(const ImageTree& tree, const ErofsOptions& options) {
  TRY(xattrs, XattrTable::build(tree));
  TRY(layout, compute_layout(tree, options, xattrs));
  return described(layout);
}

}  // namespace dedup
