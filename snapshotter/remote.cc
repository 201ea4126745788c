#include "snapshotter/remote.h"

#include <span>

#include "base/digest.h"

namespace dedup {
namespace {

constexpr const char* kRefLabels[] = {
    "containerd.io/snapshot/cri.image-ref", "containerd.io/snapshot/remote/stargz.reference",
    "containerd.io/snapshot/remote/soci.reference", "containerd.io/snapshot/image-ref"};
constexpr const char* kLayerLabels[] = {"containerd.io/snapshot/cri.layer-digest",
                                        "containerd.io/snapshot/remote/stargz.digest",
                                        "containerd.io/snapshot/remote/soci.digest"};
constexpr const char* kManifestLabels[] = {"containerd.io/snapshot/cri.manifest-digest",
                                           "containerd.io/snapshot/remote/image.manifest.digest"};
constexpr const char* kImageLayersLabels[] = {"containerd.io/snapshot/cri.image-layers",
                                              "containerd.io/snapshot/remote/stargz.layers",
                                              "containerd.io/snapshot/remote/soci.layers"};

std::string first_of(const Labels& labels, std::span<const char* const> names) {
  for (const char* name : names) {
    const auto label = labels.find(name);
    if (label != labels.end() && !label->second.empty()) return label->second;
  }
  return "";
}

std::string well_formed(std::string digest) {
  return Digest::parse(digest).ok() ? std::move(digest) : std::string();
}

std::vector<std::string> split_digests(std::string_view list) {
  std::vector<std::string> digests;
  while (!list.empty()) {
    const size_t comma = list.find(',');
    auto digest = well_formed(std::string(list.substr(0, comma)));
    if (!digest.empty()) digests.push_back(std::move(digest));
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
  }
  return digests;
}

}  // namespace

std::optional<RemoteLayer> remote_layer(const Labels& labels) {
  const auto target = labels.find(std::string(kTargetLabel));
  RemoteLayer layer{
      .target = target == labels.end() ? "" : target->second,
      .ref = first_of(labels, kRefLabels),
      .layer_digest = well_formed(first_of(labels, kLayerLabels)),
      .manifest_digest = well_formed(first_of(labels, kManifestLabels)),
      .layers = split_digests(first_of(labels, kImageLayersLabels)),
  };
  if (layer.target.empty() || layer.ref.empty() || layer.layer_digest.empty()) return std::nullopt;
  return layer;
}

}  // namespace dedup
