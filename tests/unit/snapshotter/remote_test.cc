#include "snapshotter/remote.h"

#include <gtest/gtest.h>

namespace dedup {
namespace {

const std::string kLayer = "sha256:" + std::string(64, 'a');
const std::string kUpper = "sha256:" + std::string(64, 'b');
const std::string kManifest = "sha256:" + std::string(64, 'c');
const std::string kTarget = "sha256:" + std::string(64, 'd');

TEST(RemoteLayer, ReadsContainerdsLabels) {
  const auto layer =
      remote_layer({{"containerd.io/snapshot.ref", kTarget},
                    {"containerd.io/snapshot/cri.image-ref", "host/name:tag"},
                    {"containerd.io/snapshot/cri.layer-digest", kLayer},
                    {"containerd.io/snapshot/cri.manifest-digest", kManifest},
                    {"containerd.io/snapshot/cri.image-layers", kLayer + "," + kUpper}});
  ASSERT_TRUE(layer);
  EXPECT_EQ(layer->target, kTarget);
  EXPECT_EQ(layer->ref, "host/name:tag");
  EXPECT_EQ(layer->layer_digest, kLayer);
  EXPECT_EQ(layer->manifest_digest, kManifest);
  EXPECT_EQ(layer->layers, (std::vector{kLayer, kUpper}));
}

TEST(RemoteLayer, ReadsStargzAndSociLabels) {
  for (const std::string dialect : {"stargz", "soci"}) {
    const std::string prefix = "containerd.io/snapshot/remote/" + dialect + ".";
    const auto layer = remote_layer({{"containerd.io/snapshot.ref", kTarget},
                                     {prefix + "reference", "host/name:tag"},
                                     {prefix + "digest", kLayer},
                                     {prefix + "layers", kLayer}});
    ASSERT_TRUE(layer) << dialect;
    EXPECT_EQ(layer->layer_digest, kLayer);
    EXPECT_EQ(layer->manifest_digest, "");
    EXPECT_EQ(layer->layers.size(), 1U);
  }
}

// An image list is cut where a label's 4096 bytes end, maybe inside a digest.
TEST(RemoteLayer, DropsADigestThatWasCut) {
  const auto layer =
      remote_layer({{"containerd.io/snapshot.ref", kTarget},
                    {"containerd.io/snapshot/cri.image-ref", "host/name:tag"},
                    {"containerd.io/snapshot/cri.layer-digest", kLayer},
                    {"containerd.io/snapshot/cri.image-layers", kLayer + ",sha256:abc,,"}});
  ASSERT_TRUE(layer);
  EXPECT_EQ(layer->layers, std::vector{kLayer});
}

TEST(RemoteLayer, IsAbsentWhenOneOfThreeIsMissing) {
  const Labels all = {{"containerd.io/snapshot.ref", kTarget},
                      {"containerd.io/snapshot/cri.image-ref", "host/name:tag"},
                      {"containerd.io/snapshot/cri.layer-digest", kLayer}};
  EXPECT_TRUE(remote_layer(all));
  for (const auto& [name, value] : all) {
    Labels labels = all;
    labels.erase(name);
    EXPECT_FALSE(remote_layer(labels)) << name;
  }
  Labels bad = all;
  bad["containerd.io/snapshot/cri.layer-digest"] = "sha256:../../etc";
  EXPECT_FALSE(remote_layer(bad));
}

}  // namespace
}  // namespace dedup
