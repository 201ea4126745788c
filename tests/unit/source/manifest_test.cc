#include "source/manifest.h"

#include <gtest/gtest.h>

namespace dedup {
namespace {

const std::string kOci = "application/vnd.oci.image.manifest.v1+json";
const std::string kIndex = "application/vnd.oci.image.index.v1+json";

std::string digest(char c) {
  return "sha256:" + std::string(64, c);
}
std::string descriptor(char c, const std::string& more = "") {
  return R"({"mediaType":"application/x","digest":")" + digest(c) + R"(","size":12)" + more + "}";
}
std::string manifest(const std::string& layers, const std::string& more = "") {
  return R"({"schemaVersion":2,"config":)" + descriptor('c') + R"(,"layers":)" + layers + more +
         "}";
}
std::string index_entry(char c, const std::string& os, const std::string& architecture,
                        const std::string& variant = "") {
  return descriptor(c, R"(,"platform":{"os":")" + os + R"(","architecture":")" + architecture +
                           (variant.empty() ? "" : R"(","variant":")" + variant) + R"("})");
}
ImageIndex parse_index(const std::string& entries) {
  auto parsed = parse_manifest(R"({"schemaVersion":2,"manifests":[)" + entries + "]}", kIndex);
  EXPECT_TRUE(parsed.ok()) << parsed.error().to_string();
  return std::get<ImageIndex>(*parsed);
}

TEST(Manifest, ParsesLayersInOrderWithAnnotations) {
  const auto text =
      manifest("[" + descriptor('a', R"(,"annotations":{"k":"v"})") + "," + descriptor('b') + "]",
               R"(,"annotations":{"top":"level"})");
  const auto parsed = parse_manifest(text, kOci + "; charset=utf-8");
  ASSERT_TRUE(parsed.ok()) << parsed.error().to_string();
  const auto& result = std::get<Manifest>(*parsed);
  EXPECT_EQ(result.media_type, kOci);
  ASSERT_EQ(result.layers.size(), 2U);
  EXPECT_EQ(result.layers[0].digest.to_string(), digest('a'));
  EXPECT_EQ(result.layers[0].annotations.at("k"), "v");
  EXPECT_EQ(result.layers[1].size, 12U);
  EXPECT_EQ(result.config.digest.to_string(), digest('c'));
  EXPECT_EQ(result.annotations.at("top"), "level");
}

TEST(Manifest, TypeComesFromTheDocumentThenTheServerThenTheFields) {
  const std::string docker = "application/vnd.docker.distribution.manifest.v2+json";
  const auto named = parse_manifest(manifest("[]", R"(,"mediaType":")" + docker + '"'), kIndex);
  ASSERT_TRUE(named.ok());
  EXPECT_EQ(std::get<Manifest>(*named).media_type, docker);
  EXPECT_TRUE(std::holds_alternative<Manifest>(*parse_manifest(manifest("[]"), "text/plain")));
  EXPECT_TRUE(std::holds_alternative<ImageIndex>(*parse_manifest(R"({"manifests":[]})", "")));
}

TEST(Manifest, RefusesHostileDocuments) {
  const std::string layer = descriptor('a');
  struct Case {
    std::string text, type;
    Errc code;
  };
  const Case cases[] = {
      {"", kOci, Errc::kInvalid},
      {"[]", kOci, Errc::kInvalid},
      {"{", kOci, Errc::kInvalid},
      {std::string(100'000, '['), kOci, Errc::kInvalid},
      {"{}", kOci, Errc::kInvalid},
      {"{}", "", Errc::kInvalid},
      {R"({"schemaVersion":1})", "", Errc::kUnsupported},
      {manifest("[]"), "application/vnd.docker.distribution.manifest.v1+prettyjws",
       Errc::kUnsupported},
      {manifest("[]", R"(,"manifests":[])"), kOci, Errc::kInvalid},
      {manifest("{}"), kOci, Errc::kInvalid},
      {manifest("[1]"), kOci, Errc::kInvalid},
      {manifest("[{}]"), kOci, Errc::kInvalid},
      {manifest(R"([{"digest":")" + digest('a') + R"("}])"), kOci, Errc::kInvalid},
      {manifest(R"([{"digest":")" + digest('a') + R"(","size":-1}])"), kOci, Errc::kInvalid},
      {manifest(R"([{"digest":")" + digest('a') + R"(","size":1.5}])"), kOci, Errc::kInvalid},
      {manifest(R"([{"digest":")" + digest('a') + R"(","size":18446744073709551615}])"), kOci,
       Errc::kInvalid},
      {manifest(R"([{"digest":")" + digest('G') + R"(","size":1}])"), kOci, Errc::kInvalid},
      {manifest(R"([{"digest":"sha512:00","size":1}])"), kOci, Errc::kUnsupported},
      {manifest(R"([{"digest":"../../etc/passwd","size":1}])"), kOci, Errc::kInvalid},
      {manifest("[" + descriptor('a', R"(,"annotations":{"k":1})") + "]"), kOci, Errc::kInvalid},
      {manifest("[" + descriptor('a', R"(,"platform":7)") + "]"), kOci, Errc::kInvalid},
      {R"({"layers":[]})", kOci, Errc::kInvalid},
  };
  for (const auto& c : cases) {
    const auto parsed = parse_manifest(c.text, c.type);
    ASSERT_FALSE(parsed.ok()) << c.text.substr(0, 200);
    EXPECT_EQ(parsed.error().code, c.code) << c.text.substr(0, 200);
  }
  std::string many = layer;
  for (int i = 0; i < 1024; ++i) many += "," + layer;
  EXPECT_FALSE(parse_manifest(manifest("[" + many + "]"), kOci).ok());
}

TEST(Manifest, ErrorsNameTheField) {
  const auto parsed = parse_manifest(manifest("[" + descriptor('a') + R"(,{"size":1}])"), kOci);
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.error().context, "layers[1].digest is missing");
}

TEST(Platforms, ExactThenBestVariantIsChosen) {
  const auto index = parse_index(
      index_entry('1', "linux", "amd64") + "," + index_entry('2', "linux", "arm", "v5") + "," +
      index_entry('3', "linux", "arm", "v7") + "," + index_entry('4', "linux", "arm", "v6") + "," +
      index_entry('5', "linux", "arm64", "v8") + "," + index_entry('6', "windows", "amd64") + "," +
      index_entry('7', "unknown", "unknown"));
  const auto chosen = [&](Platform platform) {
    const auto found = choose_platform(index, platform);
    return found.ok() ? found->digest.to_string()[7] : '-';
  };
  EXPECT_EQ(chosen({"linux", "amd64", ""}), '1');
  EXPECT_EQ(chosen({"linux", "arm", "v7"}), '3');
  EXPECT_EQ(chosen({"linux", "arm", "v6"}), '4');
  EXPECT_EQ(chosen({"linux", "arm64", ""}), '5');
  EXPECT_EQ(chosen({"windows", "amd64", ""}), '6');
  EXPECT_EQ(chosen({"linux", "arm", "v4"}), '-');
  EXPECT_EQ(chosen({"linux", "s390x", ""}), '-');
  EXPECT_FALSE(Platform::host().architecture.empty());
}

TEST(Platforms, ErrorListsWhatTheIndexOffers) {
  const auto index = parse_index(index_entry('1', "linux", "amd64") + "," +
                                 index_entry('2', "linux", "arm", "v7"));
  const auto found = choose_platform(index, {"linux", "s390x", ""});
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code, Errc::kNotFound);
  EXPECT_EQ(found.error().context,
            "no image for linux/s390x, the index offers linux/amd64, linux/arm/v7");
}

TEST(Platforms, OneEntryWithoutPlatformIsTaken) {
  EXPECT_TRUE(choose_platform(parse_index(descriptor('1')), Platform::host()).ok());
  EXPECT_FALSE(
      choose_platform(parse_index(descriptor('1') + "," + descriptor('2')), Platform::host()).ok());
  EXPECT_FALSE(choose_platform(parse_index(""), Platform::host()).ok());
}

TEST(ImageConfigs, ParsesDiffIdsAndRefusesOtherShapes) {
  const auto config = parse_image_config(R"({"architecture":"amd64","os":"linux","rootfs":)"
                                         R"({"type":"layers","diff_ids":[")" +
                                         digest('1') + R"("]}})");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->platform.architecture, "amd64");
  ASSERT_EQ(config->diff_ids.size(), 1U);
  for (const std::string text :
       {"", "{}", "null", R"({"rootfs":[]})", R"({"rootfs":{"diff_ids":{}}})",
        R"({"rootfs":{"diff_ids":[1]}})", R"({"rootfs":{"diff_ids":["sha256:x"]}})",
        R"({"os":7,"rootfs":{"diff_ids":[]}})"}) {
    EXPECT_FALSE(parse_image_config(text).ok()) << text;
  }
}

}  // namespace
}  // namespace dedup
