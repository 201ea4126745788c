#include "trace/image_view.h"

#include <algorithm>
#include <string_view>
#include <tuple>

#include "pool/layer_commit.h"

namespace dedup {
namespace {

FetchCause cause_of(FetchReason reason) {
  switch (reason) {
    case FetchReason::kReader:
      return FetchCause::kReader;
    case FetchReason::kReadahead:
      return FetchCause::kReadahead;
    case FetchReason::kPrefetch:
      return FetchCause::kPrefetch;
    case FetchReason::kBackground:
      break;
  }
  return FetchCause::kBackground;
}

}  // namespace

Result<ImageView> ImageView::load(const std::string& pool_directory,
                                  const std::vector<Digest>& layers, Whiteouts whiteouts,
                                  const SegmentSizes& sizes) {
  std::vector<PlacedLayer> placed;
  for (const Digest& digest : layers) {
    TRY(layer, load_layer_index(pool_directory, digest));
    placed.push_back(std::move(layer));
  }
  TRY(tree, merge_layers(std::move(placed), whiteouts));
  TRY(plan, plan_erofs(tree, metadata_options(sizes)));
  ImageView view;
  TRY(files, ImageFiles::build(tree, plan.node_nid, layers));
  view.x_files = std::move(files);
  for (size_t i = 0; i < tree.nodes.size(); ++i) {
    const TreeNode& node = tree.nodes[i];
    if (!node.inode->is_regular()) continue;
    const PlacedLayer& layer = tree.layers[node.layer];
    for (uint32_t e = 0; e < node.inode->extent_count; ++e) {
      const Extent& extent = layer.index->extents[node.inode->first_extent + e];
      const Slot& slot = (*layer.slots)[node.inode->first_extent + e];
      view.x_places.push_back(
          {slot.segment, slot.offset, extent.bytes, plan.node_nid[i], extent.file_offset});
    }
  }
  std::ranges::sort(view.x_places, {}, [](const Place& place) {
    return std::tuple(place.segment, place.offset, place.nid);
  });
  return view;
}

std::set<SegmentId> ImageView::segments() const {
  std::set<SegmentId> segments;
  for (const Place& place : x_places) segments.insert(segments.end(), place.segment);
  return segments;
}

std::vector<ProfileFetch> ImageView::fetches_of(const std::vector<FetchRecord>& records,
                                                const std::vector<ProfileEntry>& touched,
                                                uint64_t prepared_ns) const {
  std::set<std::string_view> paths;
  for (const ProfileEntry& entry : touched) paths.insert(entry.path);
  const auto is_touched = [&](const Place& place) {
    const ImageFile* file = x_files.find(place.nid);
    return file != nullptr && paths.contains(file->path);
  };
  std::vector<ProfileFetch> fetches;
  for (const FetchRecord& record : records) {
    // The last slot that begins at or before the piece; pieces do not cross slots.
    const auto after = std::ranges::upper_bound(
        x_places, std::pair(record.segment, record.range.offset), {},
        [](const Place& place) { return std::pair(place.segment, place.offset); });
    if (after == x_places.begin()) continue;
    const Place& last = *std::prev(after);
    const auto first = std::ranges::lower_bound(
        x_places, std::pair(last.segment, last.offset), {},
        [](const Place& place) { return std::pair(place.segment, place.offset); });
    const auto wanted = std::find_if(first, after, is_touched);
    const Place& place = wanted != after ? *wanted : *first;
    if (place.segment != record.segment || record.range.offset >= place.offset + place.bytes)
      continue;
    const ImageFile* file = x_files.find(place.nid);
    if (file == nullptr) continue;
    const ByteRange range{place.file_offset + record.range.offset - place.offset,
                          record.range.length};
    fetches.push_back({file->layer, file->path, range, (record.done_ns - prepared_ns) / 1000,
                       cause_of(record.reason), record.wait_ns / 1000});
  }
  return fetches;
}

}  // namespace dedup
