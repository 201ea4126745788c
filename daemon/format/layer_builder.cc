#include "format/layer_builder.h"

#include <algorithm>
#include <cassert>
#include <string_view>

#include "base/bytes.h"
#include "format/entry_inode.h"
#include "format/layer_path.h"
#include "format/layer_tree.h"

namespace dedup {

namespace {

Error invalid(std::string what) {
  return make_error(Errc::kInvalid, std::move(what));
}

std::string over(std::string_view what, uint64_t limit) {
  return std::string(what) + " over " + std::to_string(limit);
}

uint64_t text_bytes(std::string_view name, const Entry& entry) {
  uint64_t bytes = name.size() + entry.link_target.size();
  for (const Xattr& xattr : entry.xattrs) bytes += xattr.name.size() + xattr.value.size();
  return bytes;
}

}  // namespace

struct LayerBuilder::State {
  // Who gets the extents that follow an entry. Data of whiteouts and AUFS internals is dropped.
  enum class Data : uint8_t { kNone, kDropped, kFile };

  State(uint32_t chunk, const LayerLimits& bounds)
      : chunk_bytes(chunk), limits(bounds), tree(bounds.max_entries) {
    assert(chunk >= kPoolBlockBytes && (chunk & (chunk - 1)) == 0);
  }

  Result<void> add(Entry& entry);
  Result<void> add_file(Entry& entry, InodeIndex parent, std::string_view name);
  Result<void> add_link(Entry& entry, InodeIndex parent, std::string_view name);
  Result<void> add_root(Entry& entry);
  Result<InodeIndex> parent_directory(const Entry& entry, LayerTree::Path path);
  Result<void> add_extent(Extent extent, std::span<const Chunk> covering);
  Result<void> check_extent(const Extent& extent, std::span<const Chunk> covering) const;
  LayerIndex finish();

  uint32_t chunk_bytes;
  LayerLimits limits;
  LayerTree tree;
  std::vector<Extent> extents;
  std::vector<Chunk> chunks;
  std::vector<std::string_view> components;  // of the path in hand
  uint64_t entry_count = 0;
  uint64_t metadata_bytes = 0;
  Data data = Data::kNone;
  InodeIndex file = kRootInode;  // with Data::kFile
  std::string file_path;
  // The directory the last entry lay in, by the text before its name: archives list siblings
  // together.
  std::string last_prefix;
  InodeIndex last_parent = kRootInode;
  uint64_t last_parent_age = 0;  // LayerTree::detached_directories() when it was resolved
};

Result<InodeIndex> LayerBuilder::State::parent_directory(const Entry& entry, LayerTree::Path path) {
  const auto prefix_bytes = static_cast<size_t>(path.back().data() - entry.path.data());
  const std::string_view prefix = std::string_view(entry.path).substr(0, prefix_bytes);
  const bool still_there = last_parent_age == tree.detached_directories();
  if (still_there && !prefix.empty() && prefix == last_prefix) return last_parent;
  for (const std::string_view name : path.first(path.size() - 1)) {
    if (name.starts_with(kWhiteoutPrefix)) return invalid("a whiteout is used as a directory");
  }
  TRY(parent, tree.make_directories(path.first(path.size() - 1)));
  last_prefix = prefix;
  last_parent = parent;
  last_parent_age = tree.detached_directories();
  return parent;
}

Result<void> LayerBuilder::State::add(Entry& entry) {
  data = Data::kNone;
  if (++entry_count > limits.max_entries) {
    return make_error(Errc::kNoSpace, over("entries", limits.max_entries));
  }
  TRY(split_layer_path(entry.path, limits, components));
  if (components.empty()) return add_root(entry);

  const std::string_view name = components.back();
  data = Data::kDropped;
  const auto reserved = [](std::string_view part) { return part.starts_with(kReservedPrefix); };
  if (std::any_of(components.begin(), components.end() - 1, reserved)) return {};
  if (reserved(name) && name != kOpaqueMarker) return {};

  metadata_bytes += text_bytes(name, entry);
  if (metadata_bytes > limits.max_metadata_bytes) {
    return make_error(Errc::kNoSpace,
                      over("bytes of names, targets and xattrs", limits.max_metadata_bytes));
  }
  TRY(parent, parent_directory(entry, components));
  if (name == kOpaqueMarker) {
    tree.inode(parent).opaque = true;
    return {};
  }
  if (name.starts_with(kWhiteoutPrefix)) {
    const std::string_view hidden = name.substr(kWhiteoutPrefix.size());
    if (hidden.empty() || hidden == "." || hidden == "..") return invalid("whiteout of no name");
    return tree.place_whiteout(parent, hidden);
  }
  data = Data::kNone;
  if (entry.type == EntryType::kHardLink) return add_link(entry, parent, name);
  return add_file(entry, parent, name);
}

Result<void> LayerBuilder::State::add_root(Entry& entry) {
  if (entry.type != EntryType::kDirectory) return invalid("the root is not a directory");
  TRY(inode, make_inode(entry, limits));
  inode.opaque = tree.inode(kRootInode).opaque;
  tree.inode(kRootInode) = std::move(inode);
  return {};
}

Result<void> LayerBuilder::State::add_file(Entry& entry, InodeIndex parent, std::string_view name) {
  TRY(inode, make_inode(entry, limits));
  inode.first_extent = static_cast<uint32_t>(extents.size());
  TRY(placed, tree.place(parent, name, std::move(inode)));
  if (entry.type == EntryType::kRegular) {
    data = Data::kFile;
    file = placed;
    file_path = entry.path;
  }
  return {};
}

Result<void> LayerBuilder::State::add_link(Entry& entry, InodeIndex parent, std::string_view name) {
  std::vector<std::string_view> target_path;
  TRY(split_layer_path(entry.link_target, limits, target_path));
  tree.detach(parent, name);
  const auto target = tree.find(target_path);
  if (!target) {
    return invalid("hard link to " + printable_path(entry.link_target) +
                   ", which this layer does not have");
  }
  Inode& inode = tree.inode(*target);
  if (inode.is_directory()) return invalid("hard link to a directory");
  TRY(apply_link_attributes(inode, entry, limits));
  tree.link(parent, name, *target);
  return {};
}

Result<void> LayerBuilder::State::check_extent(const Extent& extent,
                                               std::span<const Chunk> covering) const {
  const uint64_t size = tree.inode(file).size;
  const auto end = checked_add(extent.file_offset, extent.bytes);
  if (extent.bytes == 0 || !end || *end > size) return invalid("extent outside the file");
  const bool whole_file = extent.file_offset == 0 && extent.bytes == size;
  if (!whole_file) {
    if (extent.file_offset % chunk_bytes != 0) return invalid("extent at an odd offset");
    if (extent.bytes > chunk_bytes) return invalid("extent longer than a chunk");
    if (extent.bytes < chunk_bytes && *end != size) return invalid("short extent inside the file");
  }
  if (tree.inode(file).extent_count > 0) {
    const Extent& last = extents.back();
    if (extent.file_offset < last.file_offset + last.bytes) return invalid("extents out of order");
  }
  uint64_t covered = 0;
  for (const Chunk& chunk : covering) {
    if (chunk.bytes > limits.max_chunk_bytes || chunk.blob_bytes > limits.max_chunk_bytes) {
      return invalid(over("chunk bytes", limits.max_chunk_bytes));
    }
    covered = checked_add(covered, chunk.bytes).value_or(UINT64_MAX);
  }
  if (!covering.empty() && covered != extent.bytes)
    return invalid("chunks do not cover the extent");
  constexpr uint64_t kMaxIndex = UINT32_MAX;
  if (extents.size() >= kMaxIndex || chunks.size() + covering.size() > kMaxIndex) {
    return make_error(Errc::kNoSpace, over("extents or chunks", kMaxIndex));
  }
  return {};
}

Result<void> LayerBuilder::State::add_extent(Extent extent, std::span<const Chunk> covering) {
  if (data == Data::kDropped) return {};
  if (data == Data::kNone) return invalid("extent without a regular file");
  if (auto checked = check_extent(extent, covering); !checked) {
    return std::move(checked).error().with("layer entry " + printable_path(file_path));
  }
  extent.first_chunk = static_cast<uint32_t>(chunks.size());
  extent.chunk_count = static_cast<uint32_t>(covering.size());
  chunks.insert(chunks.end(), covering.begin(), covering.end());
  extents.push_back(extent);
  tree.inode(file).extent_count++;
  return {};
}

LayerIndex LayerBuilder::State::finish() {
  LayerIndex index;
  index.chunk_bytes = chunk_bytes;
  index.inodes = tree.finish();
  index.extents.reserve(extents.size());
  index.chunks.reserve(chunks.size());
  for (Inode& inode : index.inodes) {
    const auto own = std::span(extents).subspan(inode.first_extent, inode.extent_count);
    inode.first_extent = own.empty() ? 0 : static_cast<uint32_t>(index.extents.size());
    for (Extent extent : own) {
      const auto covering = std::span(chunks).subspan(extent.first_chunk, extent.chunk_count);
      extent.first_chunk = covering.empty() ? 0 : static_cast<uint32_t>(index.chunks.size());
      index.chunks.insert(index.chunks.end(), covering.begin(), covering.end());
      index.extents.push_back(extent);
    }
  }
  return index;
}

LayerBuilder::LayerBuilder(uint32_t chunk_bytes, LayerLimits limits)
    : x_state(std::make_unique<State>(chunk_bytes, limits)) {}
LayerBuilder::~LayerBuilder() = default;
LayerBuilder::LayerBuilder(LayerBuilder&&) noexcept = default;
LayerBuilder& LayerBuilder::operator=(LayerBuilder&&) noexcept = default;

Result<void> LayerBuilder::add(Entry entry) {
  auto added = x_state->add(entry);
  if (!added) {
    return std::move(added).error().with("layer entry " + printable_path(entry.path));
  }
  return {};
}

Result<void> LayerBuilder::add_extent(Extent extent, std::span<const Chunk> chunks) {
  return x_state->add_extent(extent, chunks);
}

Result<LayerIndex> LayerBuilder::finish() {
  LayerIndex index = x_state->finish();
  x_state = std::make_unique<State>(x_state->chunk_bytes, x_state->limits);
  return index;
}

}  // namespace dedup
