#include "trace/profile_order.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>

#include "base/bytes.h"

namespace dedup {
namespace {

constexpr uint64_t kJoinUs = 100'000;
constexpr uint64_t kWholeFile = UINT64_MAX;  // as a block number

struct BlockKey {
  std::optional<uint32_t> layer;  // of the merged profile
  std::string path;
  uint64_t block = 0;
  auto operator<=>(const BlockKey&) const = default;
};

struct Touch {
  size_t profile = 0;
  uint64_t first_us = 0;
  uint32_t runs = 0;
};

struct Block {
  uint64_t begin = UINT64_MAX;
  uint64_t end = 0;
  std::vector<Touch> touches;  // at most one per profile
};

class Merger {
 public:
  explicit Merger(const MergeRules& rules) : x_rules(rules) {}

  Result<void> add(const Profile& profile) {
    x_runs += profile.runs;
    for (const ProfileEntry& entry : profile.entries) {
      BlockKey key;
      if (entry.layer) key.layer = layer_number(profile.layers[*entry.layer]);
      key.path = entry.path;
      TRY(add_entry(entry, key));
    }
    ++x_profiles;
    return {};
  }

  Profile finish(const Profile& pattern) && {
    Profile merged;
    merged.image = pattern.image;
    merged.entrypoint = pattern.entrypoint;
    merged.source = pattern.source;
    merged.runs = static_cast<uint32_t>(std::min<uint64_t>(x_runs, UINT32_MAX));
    merged.layers = std::move(x_layers);
    std::vector<ProfileEntry> entries;
    for (auto& [key, block] : x_blocks) {
      uint64_t runs = 0;
      for (const Touch& touch : block.touches) runs += touch.runs;
      if (runs * 100 < x_runs * x_rules.min_percent_of_runs) continue;
      entries.push_back({key.layer,
                         key.path,
                         {block.begin, block.end - block.begin},
                         median_us(block.touches, runs),
                         static_cast<uint32_t>(runs)});
    }
    merged.entries = ordered(std::move(entries));
    return merged;
  }

 private:
  uint32_t layer_number(const Digest& layer) {
    const auto found = std::ranges::find(x_layers, layer);
    if (found != x_layers.end()) return static_cast<uint32_t>(found - x_layers.begin());
    x_layers.push_back(layer);
    return static_cast<uint32_t>(x_layers.size() - 1);
  }

  Result<void> add_entry(const ProfileEntry& entry, BlockKey& key) {
    const bool whole = entry.range.length == 0;
    const uint64_t end = entry.range.end();
    const uint64_t blocks =
        whole ? 1 : (end - 1) / kProfileBlockBytes - entry.range.offset / kProfileBlockBytes + 1;
    if (blocks > x_rules.max_blocks - x_added)  // x_added is never more
      return make_error(Errc::kNoSpace, "the profiles have more than " +
                                            std::to_string(x_rules.max_blocks) + " blocks");
    if (whole) {
      key.block = kWholeFile;
      add_block(key, {0, 0}, entry);
      return {};
    }
    for (uint64_t at = entry.range.offset; at < end;) {
      key.block = at / kProfileBlockBytes;
      const uint64_t stop = std::min((key.block + 1) * kProfileBlockBytes, end);
      add_block(key, {at, stop - at}, entry);
      at = stop;
    }
    return {};
  }

  void add_block(const BlockKey& key, ByteRange range, const ProfileEntry& entry) {
    ++x_added;
    Block& block = x_blocks[key];
    block.begin = std::min(block.begin, range.offset);
    block.end = std::max(block.end, range.end());
    // Entries come by time: the first of a profile is its earliest.
    if (block.touches.empty() || block.touches.back().profile != x_profiles)
      block.touches.push_back({x_profiles, entry.first_us, entry.runs});
  }

  // The lower median: the time at which half of the runs had touched it.
  static uint64_t median_us(std::vector<Touch>& touches, uint64_t runs) {
    std::ranges::sort(touches, {}, &Touch::first_us);
    uint64_t before = 0;
    for (const Touch& touch : touches) {
      before += touch.runs;
      if (before * 2 >= runs) return touch.first_us;
    }
    return 0;
  }

  const MergeRules& x_rules;
  std::map<BlockKey, Block> x_blocks;
  std::vector<Digest> x_layers;
  size_t x_profiles = 0;
  uint64_t x_runs = 0;
  uint64_t x_added = 0;
};

}  // namespace

std::vector<ProfileEntry> ordered(std::vector<ProfileEntry> entries) {
  std::ranges::sort(entries, {}, [](const ProfileEntry& entry) {
    return std::tie(entry.first_us, entry.path, entry.layer, entry.range.offset);
  });
  std::vector<ProfileEntry> joined;
  std::unordered_map<std::string, size_t> last;  // of a path: where it is in `joined`
  for (ProfileEntry& entry : entries) {
    const auto [found, is_new] = last.try_emplace(entry.path, joined.size());
    if (!is_new) {
      ProfileEntry& before = joined[found->second];
      if (before.layer == entry.layer && before.runs == entry.runs && entry.range.length != 0 &&
          before.range.length != 0 && before.range.end() == entry.range.offset &&
          entry.first_us - before.first_us <= kJoinUs) {
        before.range.length += entry.range.length;
        continue;
      }
      found->second = joined.size();
    }
    joined.push_back(std::move(entry));
  }
  return joined;
}

Result<Profile> merge_profiles(std::span<const Profile> profiles, const MergeRules& rules) {
  if (profiles.empty()) return make_error(Errc::kInvalid, "no profiles to merge");
  const Profile& first = profiles.front();
  Merger merger(rules);
  for (const Profile& profile : profiles) {
    if (profile.image != first.image)
      return make_error(Errc::kInvalid, "profiles of different images");
    if (profile.entrypoint != first.entrypoint)
      return make_error(Errc::kInvalid, "profiles of different entrypoints");
    if (profile.source != first.source)
      return make_error(Errc::kInvalid, "profiles of different sources cannot be put in one order");
    TRY(merger.add(profile));
  }
  return std::move(merger).finish(first);
}

}  // namespace dedup
