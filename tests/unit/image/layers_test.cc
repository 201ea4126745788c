// Plain layers out of an OCI layout: what a whole one gives, and that a damaged one is named and
// leaves nothing behind.
#include "image/layers.h"

#include <gmock/gmock.h>
#include <zstd.h>

#include <fstream>

#include "format/estargz.h"
#include "unit/format/estargz_maker.h"
#include "unit/pool/pool_rig.h"

namespace dedup::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string zstd(const std::string& plain) {
  std::string out(ZSTD_compressBound(plain.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), 3));
  return out;
}

std::string tar_of(const std::vector<NamedFile>& files) {
  std::string tar;
  for (const auto& [path, content] : files) {
    tar += tar_header(path, content.size(), '0') + content;
    tar.resize((tar.size() + 511) / 512 * 512);
  }
  return tar + std::string(1024, '\0');
}

class LayersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    rig.open();
    layout = rig.dir / "layout";
    std::filesystem::create_directories(layout + "/blobs/sha256");
    std::ofstream(layout + "/oci-layout") << R"({"imageLayoutVersion":"1.0.0"})";
    std::ofstream(layout + "/index.json") << R"({"schemaVersion":2,"manifests":[]})";
    store = std::move(*ImageStore::open(rig.pool->catalog().database()));
    make({});
  }
  void TearDown() override {
    layers.reset();
    store.reset();
    rig.close();
  }
  void make(LayerOptions options) {
    layers = std::make_unique<Layers>(rig.loop.ring(), rig.workers, rig.log, *rig.pool, *store,
                                      locations, options);
  }
  // The blob is stored under `digest`, which need not be its own.
  Descriptor put(const std::string& bytes, std::optional<Digest> digest = {}) {
    Descriptor layer;
    layer.digest = digest.value_or(sha256(as_bytes(bytes)));
    layer.size = bytes.size();
    std::ofstream(layout + "/blobs/sha256/" + layer.digest.hex(), std::ios::binary) << bytes;
    return layer;
  }
  Result<PreparedLayer> prepare(const Descriptor& layer, Digest content) {
    const auto reference = Reference::parse("oci:" + layout);
    return rig.loop.run(layers->prepare(*reference, layer, content, [](uint64_t) {}));
  }
  void expect_refused(const Descriptor& layer, Digest content, Errc code,
                      const std::string& words) {
    const auto refused = prepare(layer, content);
    ASSERT_FALSE(refused.ok()) << words;
    EXPECT_EQ(refused.error().code, code) << refused.error().to_string();
    EXPECT_THAT(refused.error().context, HasSubstr(layer.digest.to_string()));
    EXPECT_THAT(refused.error().context, HasSubstr(words));
    EXPECT_THAT(PoolRig::names_in(rig.segments()), ElementsAre("00000000.data"));
    EXPECT_THAT(PoolRig::names_in(rig.layers()), IsEmpty());
    EXPECT_EQ(rig.pool->catalog().totals()->layers, 0U);
  }

  PoolRig rig;
  std::string layout;
  std::unique_ptr<ImageStore> store;
  Locations locations{[this](const Reference& reference) {
    return make_layout_source(rig.workers, rig.log, reference);
  }};
  std::unique_ptr<Layers> layers;
  const std::vector<NamedFile> files = {
      {"a", noise(1, 100'000)}, {"b", noise(2, 10)}, {"empty", ""}};
  const std::string tar = tar_of(files);
  const Digest diff_id = sha256(as_bytes(tar));
};

TEST_F(LayersTest, EveryCompressionGivesTheSameLayer) {
  for (const std::string& blob :
       {gzip(tar), zstd(tar), tar, gzip(tar.substr(0, 5000)) + gzip(tar.substr(5000))}) {
    const Descriptor layer = put(blob);
    const auto prepared = prepare(layer, diff_id);
    ASSERT_TRUE(prepared.ok()) << prepared.error().to_string();
    EXPECT_FALSE(prepared->lazy);
    for (const auto& [path, content] : files)
      EXPECT_TRUE(rig.read_file(layer.digest, path) == content) << path;
    EXPECT_TRUE(prepare(layer, diff_id).ok()) << "repeatable";
  }
  EXPECT_EQ(rig.pool->catalog().totals()->chunks, 2U);
  EXPECT_EQ(rig.pool->catalog().totals()->layers, 4U);
  EXPECT_TRUE(rig.check().bad.empty());
}

TEST_F(LayersTest, AnotherBlobThanThePromised) {
  expect_refused(put(gzip(tar), sha256(as_bytes("promised"))), diff_id, Errc::kCorruption,
                 "instead");
}

TEST_F(LayersTest, AnotherContentThanTheConfigSays) {
  expect_refused(put(gzip(tar)), sha256(as_bytes("other")), Errc::kCorruption, "diffID");
}

TEST_F(LayersTest, CutAndDamagedBlobs) {
  const std::string whole = gzip(tar);
  for (const size_t length : {size_t{11}, whole.size() / 2, whole.size() - 1}) {
    expect_refused(put(whole.substr(0, length)), diff_id, Errc::kCorruption, "");
  }
  std::string flipped = whole;
  flipped[whole.size() - 6] = static_cast<char>(flipped[whole.size() - 6] ^ 1);
  expect_refused(put(flipped), diff_id, Errc::kCorruption, "");
  expect_refused(put(zstd(tar).substr(0, 60'000)), diff_id, Errc::kCorruption, "");
  const std::string cut_tar = tar.substr(0, 50'000);
  expect_refused(put(cut_tar), sha256(as_bytes(cut_tar)), Errc::kCorruption, "");
  const auto mended = prepare(put(whole), diff_id);
  EXPECT_TRUE(mended.ok()) << "a failed pull can be repeated";
}

TEST_F(LayersTest, ABombStopsAtTheLimit) {
  const std::string bomb = gzip(tar_of({{"zeros", std::string(64u << 20, '\0')}}));
  LayerOptions options;
  options.limits.max_uncompressed_bytes = 1u << 20;
  make(options);
  expect_refused(put(bomb), diff_id, Errc::kNoSpace, "");
}

TEST_F(LayersTest, AnEscapeOutOfTheLayer) {
  const std::string evil = tar_of({{"ok", noise(5, 5000)}, {"../../evil", "x"}});
  expect_refused(put(gzip(evil)), sha256(as_bytes(evil)), Errc::kInvalid, "evil");
}

TEST_F(LayersTest, AMissingBlobIsNotFound) {
  Descriptor layer;
  layer.digest = sha256(as_bytes("nowhere"));
  layer.size = 100;
  expect_refused(layer, diff_id, Errc::kNotFound, "");
}

TEST_F(LayersTest, EstargzIsLazyAndPlainTakesItsBytes) {
  EstargzMaker maker(rig.options.chunk_bytes);
  for (const auto& [path, content] : files) maker.file(path, content);
  const EstargzBlob made = maker.finish();
  Descriptor layer = put(made.blob);
  layer.annotations[std::string(kTocDigestAnnotation)] = digest_of(made.toc);
  const auto prepared = prepare(layer, diff_id);
  ASSERT_TRUE(prepared.ok()) << prepared.error().to_string();
  EXPECT_TRUE(prepared->lazy);
  EXPECT_EQ(rig.present_bytes(), 0U);
  const auto fetch = [&] {
    return rig.loop.run(
        rig.pool->ensure(prepared->record.segment, {0, 1u << 20}, Priority::kOnDemand));
  };
  EXPECT_FALSE(fetch().ok()) << "the rig's pool reads from its own source";
  ASSERT_TRUE(prepare(put(gzip(tar)), diff_id).ok());
  for (const auto& [path, content] : files)
    EXPECT_TRUE(rig.read_file(layer.digest, path) == content) << path;
}

TEST_F(LayersTest, AWrongTocIsRefused) {
  EstargzMaker maker(rig.options.chunk_bytes);
  maker.file("a", noise(1, 5000));
  Descriptor layer = put(maker.finish().blob);
  layer.annotations[std::string(kTocDigestAnnotation)] = digest_of("another");
  expect_refused(layer, diff_id, Errc::kCorruption, "");
}

}  // namespace
}  // namespace dedup::test
