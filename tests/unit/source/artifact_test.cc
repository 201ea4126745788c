#include "source/artifact.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace dedup {
namespace {

using nlohmann::json;
using std::chrono::microseconds;

const std::string kType = "application/vnd.example.profile";
const Digest kSubject = sha256(as_bytes("subject"));

Referrer entry(const std::string& name, const std::string& created,
               const std::string& entrypoint = "") {
  Referrer made{kSubject, kType, {}};
  made.manifest.media_type = "application/vnd.oci.image.manifest.v1+json";
  made.manifest.digest = sha256(as_bytes(name));
  made.manifest.size = name.size();
  if (!created.empty()) made.manifest.annotations[kCreatedAnnotation] = created;
  if (!entrypoint.empty()) made.manifest.annotations[kEntrypointAnnotation] = entrypoint;
  return made;
}

std::string index_of(const std::vector<Referrer>& entries) {
  std::string index;
  for (const auto& one : entries) index = *add_referrer(index, one);
  return index;
}

TEST(Times, RoundTripAndZones) {
  const WallTime time{microseconds(1'795'297'089'000'042)};
  EXPECT_EQ(format_time(time), "2026-11-21T21:38:09.000042Z");
  EXPECT_EQ(parse_time(format_time(time)), time);
  EXPECT_EQ(parse_time("2026-11-21T21:38:09.0000427999Z"), time);
  EXPECT_EQ(parse_time("2026-11-21T23:08:09.000042+01:30"), time);
  EXPECT_EQ(parse_time("2026-11-21T16:38:09.000042-05:00"), time);
  EXPECT_EQ(parse_time("1970-01-01T00:00:00Z"), WallTime());
  EXPECT_LT(*parse_time("2026-11-21T21:38:09Z"), time);
}

TEST(Times, OtherTextsAreNone) {
  for (const std::string text :
       {"", "now", "2026-11-21", "2026-11-21T21:38:09", "2026-11-21T21:38:09.", "Z",
        "2026-13-21T21:38:09Z", "2026-11-21T21:38:09Zx", "2026-11-21T21:38:09+1",
        "2026-11-21T21:38:09*01:00", "2026-11-21T21:38:09+01:00x", "1969-12-31T23:59:59Z",
        "99999-01-01T00:00:00Z", "-001-01-01T00:00:00Z", "2026-11-21T21:38:09+-1:00"}) {
    EXPECT_FALSE(parse_time(text).has_value()) << text;
  }
}

TEST(ReferrerList, NewestFirstUndatedLastEachOnceAndNotTooMany) {
  std::vector<Referrer> list = {entry("undated", ""), entry("old", "2026-01-01T00:00:00Z"),
                                entry("new", "2026-01-01T01:00:00+00:30"),
                                entry("broken", "yesterday"), entry("old", "2026-01-01T00:00:00Z")};
  keep_newest(list);
  ASSERT_EQ(list.size(), 4U);
  EXPECT_EQ(list[0].manifest.digest, sha256(as_bytes("new")));
  EXPECT_EQ(list[1].manifest.digest, sha256(as_bytes("old")));
  EXPECT_EQ(list[2].manifest.digest, sha256(as_bytes("undated")));
  for (int i = 0; i < 100; ++i) list.push_back(entry(std::to_string(i), "2027-01-01T00:00:00Z"));
  keep_newest(list);
  EXPECT_EQ(list.size(), kMaxReferrers);
}

TEST(ReferrerIndex, EntryReplacesThoseOfItsTypeAndEntrypoint) {
  const std::string index = index_of(
      {entry("a", "", "run"), entry("b", ""), entry("c", "", "run"), entry("d", "", "other")});
  const auto found = parse_referrers(index, kSubject, kType);
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->size(), 3U);
  EXPECT_EQ((*found)[0].manifest.digest, sha256(as_bytes("b")));
  EXPECT_EQ((*found)[1].manifest.digest, sha256(as_bytes("c")));
  EXPECT_EQ((*found)[1].subject, kSubject);
  EXPECT_EQ((*found)[1].artifact_type, kType);
  EXPECT_EQ((*found)[1].manifest.annotations.at(kEntrypointAnnotation), "run");
  EXPECT_TRUE(parse_referrers(index, kSubject, "application/other")->empty());
}

TEST(ReferrerIndex, ListedMeansItselfOrALaterOneInItsPlace) {
  const std::string early = "2026-01-01T00:00:00Z", late = "2026-01-01T00:00:01Z";
  EXPECT_TRUE(is_listed(index_of({entry("a", early)}), entry("a", late)));
  EXPECT_TRUE(is_listed(index_of({entry("b", late)}), entry("a", early)));
  EXPECT_FALSE(is_listed(index_of({entry("b", early)}), entry("a", late)));
  EXPECT_FALSE(is_listed(index_of({entry("b", "")}), entry("a", late)));
  EXPECT_FALSE(is_listed(index_of({entry("b", late, "run")}), entry("a", early)));
  EXPECT_FALSE(is_listed("", entry("a", early)));
  EXPECT_FALSE(is_listed("[]", entry("a", early)));
}

TEST(ReferrerIndex, WhatCannotBeReadAgainIsNotWritten) {
  EXPECT_EQ(add_referrer("[]", entry("a", "")).error().code, Errc::kInvalid);
  EXPECT_EQ(add_referrer(R"({"manifests":{}})", entry("a", "")).error().code, Errc::kInvalid);
  const std::string long_text((4 << 20) - 1000, 'x');
  const auto large = add_referrer(R"({"manifests":[],"annotations":{"x":")" + long_text + R"("}})",
                                  entry("a", "", std::string(2000, 'y')));
  ASSERT_FALSE(large.ok());
  EXPECT_NE(large.error().context.find("is full"), std::string::npos) << large.error().context;
  // Deep nesting is refused before anything goes down into it; brackets in texts are none.
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  EXPECT_FALSE(add_referrer(R"({"manifests":[)" + deep + "]}", entry("a", "")).ok());
  EXPECT_FALSE(parse_referrers(R"({"manifests":[)" + deep + "]}", kSubject, kType).ok());
  EXPECT_FALSE(is_listed(R"({"manifests":[)" + deep + "]}", entry("a", "")));
  const std::string brackets = R"({"manifests":[{"x":"\"\\)" + std::string(1000, '[') + R"("}]})";
  EXPECT_TRUE(add_referrer(brackets, entry("a", "")).ok());
}

TEST(ReferrerIndex, TextsThatAreNotUtf8DoNotEndTheProgram) {
  const auto index = add_referrer("", entry("a", "", "run \xff\xfe"));
  ASSERT_TRUE(index.ok());
  EXPECT_EQ(parse_referrers(*index, kSubject, kType)->size(), 1U);
  const auto again = add_referrer(*index, entry("b", "", "run \xff\xfe"));
  EXPECT_EQ(parse_referrers(*again, kSubject, kType)->size(), 1U);
  Artifact artifact{kType, kType, {}, {{kEntrypointAnnotation, "\xc3"}}};
  EXPECT_TRUE(json::accept(artifact_manifest(artifact, entry("s", "").manifest)));
}

TEST(ArtifactManifest, ConfigTypeStandsForAnAbsentArtifactType) {
  Referrer referrer = entry("m", "");
  json manifest = json::parse(artifact_manifest({kType, "text/plain", {}, {}}, [] {
    Descriptor subject;
    subject.digest = kSubject;
    return subject;
  }()));
  EXPECT_TRUE(artifact_layer(manifest.dump(), referrer, "text/plain", 0).ok());
  manifest.erase("artifactType");
  EXPECT_FALSE(artifact_layer(manifest.dump(), referrer, "text/plain", 0).ok());
  manifest["config"]["mediaType"] = kType;
  EXPECT_TRUE(artifact_layer(manifest.dump(), referrer, "text/plain", 0).ok());
  EXPECT_TRUE(check_refers(manifest.dump(), referrer).ok());
  EXPECT_FALSE(check_refers("", referrer).ok());
  const std::string deep = std::string(500'000, '[') + std::string(500'000, ']');
  EXPECT_FALSE(artifact_layer(R"({"layers":)" + deep + "}", referrer, "text/plain", 0).ok());
}

}  // namespace
}  // namespace dedup
