#include "trace/image_files.h"

#include <algorithm>
#include <map>

#include "base/bytes.h"
#include "trace/profile_order.h"

namespace dedup {
namespace {

// Depth first, names bytewise: the first name of a hard-linked file is always the same one.
class Walk {
 public:
  Walk(const ImageTree& tree, std::span<const uint32_t> node_nid,
       std::unordered_map<uint64_t, ImageFile>& files)
      : x_tree(tree), x_nids(node_nid), x_files(files) {}

  void run() {
    std::vector<Place> places{{0, 0, 0}};
    while (!places.empty()) {
      Place& place = places.back();
      const TreeNode& node = x_tree.nodes[place.node];
      if (place.next_child == node.children.size()) {
        x_path.resize(place.parent_path_bytes);
        places.pop_back();
        continue;
      }
      const TreeChild& child = node.children[place.next_child++];
      const size_t path_bytes = x_path.size();
      x_path.append("/").append(child.name);
      if (x_tree.nodes[child.node].inode->is_regular()) note(child.node);
      places.push_back({child.node, 0, path_bytes});
    }
  }

 private:
  struct Place {
    uint32_t node;
    size_t next_child;
    size_t parent_path_bytes;
  };

  void note(uint32_t index) {
    const TreeNode& node = x_tree.nodes[index];
    if (node.inode->size == 0 || !valid_profile_path(x_path)) return;
    x_files.try_emplace(x_nids[index], ImageFile{x_path, node.layer, node.inode->size});
  }

  const ImageTree& x_tree;
  std::span<const uint32_t> x_nids;
  std::unordered_map<uint64_t, ImageFile>& x_files;
  std::string x_path;
};

}  // namespace

Result<ImageFiles> ImageFiles::build(const ImageTree& tree, std::span<const uint32_t> node_nid,
                                     std::vector<Digest> layers) {
  if (node_nid.size() != tree.nodes.size() || layers.size() != tree.layers.size())
    return make_error(Errc::kInvalid, "inode numbers or layers of another image");
  ImageFiles files;
  files.x_layers = std::move(layers);
  if (!tree.nodes.empty()) Walk(tree, node_nid, files.x_files).run();
  return files;
}

const ImageFile* ImageFiles::find(uint64_t nid) const {
  const auto found = x_files.find(nid);
  return found == x_files.end() ? nullptr : &found->second;
}

Profile profile_of(const Recording& recording, Sight sight, uint32_t device,
                   const ImageFiles& files, uint64_t start_ns) {
  std::map<std::pair<uint64_t, uint64_t>, uint64_t> first_ns;  // of (inode, block)
  for (const PageRun& run : recording.touched) {
    if (run.device != device || run.range.empty()) continue;
    const uint64_t last = (run.range.end() - 1) / kProfileBlockBytes;
    for (uint64_t block = run.range.offset / kProfileBlockBytes; block <= last; ++block)
      first_ns.try_emplace({run.inode, block}, run.first_ns);  // runs come by time
  }
  std::vector<ProfileEntry> entries;
  for (const auto& [place, ns] : first_ns) {
    const ImageFile* file = files.find(place.first);
    const uint64_t begin = place.second * kProfileBlockBytes;
    if (file == nullptr || begin >= file->bytes) continue;
    const ByteRange range{begin, std::min(kProfileBlockBytes, file->bytes - begin)};
    entries.push_back(
        {file->layer, file->path, range, ns > start_ns ? (ns - start_ns) / 1000 : 0, 1});
  }
  Profile profile;
  profile.source = sight == Sight::kMisses ? ProfileSource::kMisses : ProfileSource::kTouches;
  profile.layers = files.layers();
  profile.entries = ordered(std::move(entries));
  return profile;
}

}  // namespace dedup
