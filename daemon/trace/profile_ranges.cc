#include "trace/profile_ranges.h"

#include <algorithm>
#include <optional>
#include <string_view>

namespace dedup {
namespace {

// The regular file of that path in one layer; null when it has none.
const Inode* find_file(const LayerIndex& index, std::string_view path) {
  const Inode* inode = &index.inodes[kRootInode];
  while (!path.empty()) {
    path.remove_prefix(1);  // '/'
    const size_t end = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, end);
    path.remove_prefix(end);
    const auto child = std::ranges::lower_bound(
        inode->children, name, {},
        [](const DirEntry& entry) { return std::string_view(entry.name); });
    if (child == inode->children.end() || child->name != name) return nullptr;
    inode = &index.inodes[child->inode];
  }
  return inode->is_regular() ? inode : nullptr;
}

void append_places(const PlacedLayer& layer, const Inode& file, const ProfileEntry& entry,
                   std::vector<PrefetchRange>& ranges) {
  ByteRange wanted = entry.range;
  if (wanted.length == 0) wanted = {0, file.size};
  for (uint32_t i = 0; i < file.extent_count; ++i) {
    const Extent& extent = layer.index->extents[file.first_extent + i];
    const ByteRange part = ByteRange{extent.file_offset, extent.bytes}.intersect(wanted);
    if (part.empty()) continue;
    const Slot& slot = (*layer.slots)[file.first_extent + i];
    const ByteRange placed{slot.offset + part.offset - extent.file_offset, part.length};
    ranges.push_back({slot.segment, placed, entry.first_us});
  }
}

uint64_t bytes_of(const std::vector<NamedLayer>& layers) {
  uint64_t bytes = 0;
  for (const NamedLayer& layer : layers) {
    for (const Extent& extent : layer.placed.index->extents) bytes += extent.bytes;
  }
  return bytes;
}

class Finder {
 public:
  Finder(const Profile& profile, const std::vector<NamedLayer>& layers) : x_layers(layers) {
    for (const Digest& digest : profile.layers) {
      const auto found = std::ranges::find(layers, digest, &NamedLayer::digest);
      x_by_number.push_back(found == layers.end() ? nullptr : &found->placed);
    }
  }

  void append(const ProfileEntry& entry, std::vector<PrefetchRange>& ranges) const {
    if (entry.layer) {
      const PlacedLayer* layer = x_by_number[*entry.layer];
      if (layer != nullptr) append_from(*layer, entry, ranges);
      return;
    }
    for (auto layer = x_layers.rbegin(); layer != x_layers.rend(); ++layer) {
      if (append_from(layer->placed, entry, ranges)) return;
    }
  }

 private:
  static bool append_from(const PlacedLayer& layer, const ProfileEntry& entry,
                          std::vector<PrefetchRange>& ranges) {
    const Inode* file = find_file(*layer.index, entry.path);
    if (file != nullptr) append_places(layer, *file, entry, ranges);
    return file != nullptr;
  }

  const std::vector<NamedLayer>& x_layers;
  std::vector<const PlacedLayer*> x_by_number;  // as the profile counts; null: not of this image
};

}  // namespace

std::vector<PrefetchRange> profile_ranges(const Profile& profile,
                                          const std::vector<NamedLayer>& layers) {
  const Finder finder(profile, layers);
  std::vector<PrefetchRange> ranges;
  uint64_t bytes = 0;
  const uint64_t max_bytes = 2 * bytes_of(layers);
  for (const ProfileEntry& entry : profile.entries) {
    const size_t before = ranges.size();
    finder.append(entry, ranges);
    for (size_t i = before; i < ranges.size(); ++i) bytes += ranges[i].range.length;
    if (bytes > max_bytes) break;
  }
  return ranges;
}

std::vector<PrefetchRange> all_ranges(const std::vector<NamedLayer>& layers) {
  std::vector<PrefetchRange> ranges;
  for (const NamedLayer& layer : layers) {
    for (size_t i = 0; i < layer.placed.slots->size(); ++i) {
      const Slot& slot = (*layer.placed.slots)[i];
      ranges.push_back({slot.segment, {slot.offset, layer.placed.index->extents[i].bytes}});
    }
  }
  return ranges;
}

}  // namespace dedup
