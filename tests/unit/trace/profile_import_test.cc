#include "trace/profile_import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trace/profile_file.h"
#include "unit/trace/profiles.h"

namespace dedup {
namespace {

using test::digest_of;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> paths_of(const Result<Profile>& profile) {
  EXPECT_TRUE(profile.ok()) << profile.error().to_string();
  std::vector<std::string> paths;
  if (!profile.ok()) return paths;
  EXPECT_TRUE(write_profile(*profile).ok());
  for (const ProfileEntry& entry : profile->entries) paths.push_back(entry.path);
  return paths;
}

TEST(ProfileImport, PlainPaths) {
  const auto profile = import_list(
      "# what starts\n/bin/sh\nusr//lib/./x\r\n\n./etc/\n/bin/sh\n/ends with space \n/last",
      ListKind::kPaths);
  EXPECT_THAT(paths_of(profile),
              ElementsAre("/bin/sh", "/usr/lib/x", "/etc", "/ends with space ", "/last"));
  EXPECT_EQ(profile->source, ProfileSource::kList);
  EXPECT_EQ(profile->entries[4].first_us, 4u);
  EXPECT_TRUE(profile->entries[4].range.empty());
}

TEST(ProfileImport, StargzRecord) {
  const std::string text =
      R"({"path":"usr/bin/python3","manifestDigest":"sha256:11","layerIndex":1})"
      "\n"
      R"({"path":"bin/","manifestDigest":"sha256:11","layerIndex":0})"
      "\n"
      R"({"path":"usr/lib/x","layerIndex":7})"
      "\n";
  const std::vector<Digest> layers = {digest_of('a'), digest_of('b')};
  const auto profile = import_list(text, ListKind::kStargz, layers);
  EXPECT_THAT(paths_of(profile), ElementsAre("/usr/bin/python3", "/bin", "/usr/lib/x"));
  EXPECT_EQ(profile->layers, layers);
  EXPECT_EQ(profile->entries[0].layer, 1u);
  EXPECT_EQ(profile->entries[1].layer, 0u);
  EXPECT_EQ(profile->entries[2].layer, std::nullopt);
  EXPECT_EQ(import_list(text, ListKind::kStargz)->entries[0].layer, std::nullopt);
}

TEST(ProfileImport, SociFiles) {
  EXPECT_THAT(
      paths_of(import_list(R"( ["/app/config.json", " /app/lib/core.so ", ""] )", ListKind::kSoci)),
      ElementsAre("/app/config.json", "/app/lib/core.so"));
  EXPECT_THAT(paths_of(import_list("[]", ListKind::kSoci)), IsEmpty());
  const auto artifact = import_list(
      R"({"version":"1.0","prefetch_spans":[{"start_span":10,"end_span":15}]})", ListKind::kSoci);
  EXPECT_EQ(artifact.error().code, Errc::kUnsupported);
}

TEST(ProfileImport, KindIsGuessed) {
  EXPECT_EQ(guess_list_kind("/bin/sh\n"), ListKind::kPaths);
  EXPECT_EQ(guess_list_kind(""), ListKind::kPaths);
  EXPECT_EQ(guess_list_kind("\n{\"path\":\"a\"}\n"), ListKind::kStargz);
  EXPECT_EQ(guess_list_kind(" [\n\"/a\"]"), ListKind::kSoci);
  EXPECT_EQ(guess_list_kind("{\n \"version\": \"1.0\",\n \"prefetch_spans\": []}"),
            ListKind::kSoci);
}

TEST(ProfileImport, BadListsAreRefused) {
  const auto message = [](std::string_view text, ListKind kind) {
    const auto profile = import_list(text, kind);
    return profile.ok() ? "accepted" : profile.error().to_string();
  };
  EXPECT_THAT(message("/a\n/../etc/shadow\n", ListKind::kPaths), HasSubstr("line 2"));
  EXPECT_THAT(message("/\xFF\n", ListKind::kPaths), HasSubstr("line 1"));
  EXPECT_THAT(message("{\"path\":\"a\"}\nx\n", ListKind::kStargz), HasSubstr("line 2: not JSON"));
  EXPECT_THAT(message("{\"name\":\"a\"}\n", ListKind::kStargz), HasSubstr("no \"path\""));
  EXPECT_THAT(message("{\"path\":1}\n", ListKind::kStargz), HasSubstr("not a text"));
  EXPECT_THAT(message("{\"path\":\"a\",\"layerIndex\":-1}\n", ListKind::kStargz),
              HasSubstr("layerIndex"));
  EXPECT_THAT(message("[1]", ListKind::kSoci), HasSubstr("not a list of texts"));
  EXPECT_THAT(message("[\"a\"", ListKind::kSoci), HasSubstr("not JSON"));
  EXPECT_THAT(message("[[\"a\"]]", ListKind::kSoci), HasSubstr("not a list of texts"));
  EXPECT_THAT(message("[\"a\"] 1", ListKind::kSoci), HasSubstr("not JSON"));
  std::string many;
  for (int i = 0; i <= 1 << 18; ++i) many += "/" + std::to_string(i) + "\n";
  EXPECT_EQ(import_list(many, ListKind::kPaths).error().code, Errc::kNoSpace);
}

}  // namespace
}  // namespace dedup
