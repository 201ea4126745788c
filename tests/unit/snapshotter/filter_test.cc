#include "snapshotter/filter.h"

#include <gtest/gtest.h>

namespace dedup {
namespace {

SnapshotInfo sample() {
  return {.name = "a-wl",
          .parent = "p",
          .kind = SnapshotKind::kActive,
          .labels = {{"l", "2"}, {"containerd.io/snapshot.ref", "sha256:aa"}, {"a.b", "dots"}}};
}

bool matches(const std::string& text, const SnapshotInfo& info = sample()) {
  const auto filter = SnapshotFilter::parse(text);
  EXPECT_TRUE(filter.ok()) << text;
  return filter.ok() && filter->matches(info);
}

TEST(SnapshotFilter, ComparesFields) {
  EXPECT_TRUE(matches("name==a-wl"));
  EXPECT_FALSE(matches("name==a"));
  EXPECT_TRUE(matches("kind==active"));
  EXPECT_FALSE(matches("kind==committed"));
  EXPECT_TRUE(matches("parent!=\"\""));
  EXPECT_TRUE(matches("labels.l"));
  EXPECT_FALSE(matches("labels.missing"));
  EXPECT_TRUE(matches("labels.missing!=x"));
  EXPECT_FALSE(matches("unknown==x"));
  EXPECT_TRUE(matches(""));
}

TEST(SnapshotFilter, ReadsTheQueryOfTheRemoteProtocol) {
  EXPECT_TRUE(matches(R"(labels."containerd.io/snapshot.ref"==sha256:aa,parent=="p")"));
  EXPECT_FALSE(matches(R"(labels."containerd.io/snapshot.ref"==sha256:aa,parent=="")"));
  EXPECT_FALSE(matches(R"(labels."containerd.io/snapshot.ref"==sha256:ab,parent=="p")"));
  SnapshotInfo bottom = sample();
  bottom.parent = "";
  EXPECT_TRUE(matches(R"(labels."containerd.io/snapshot.ref"==sha256:aa,parent=="")", bottom));
}

TEST(SnapshotFilter, UnquotesGoEscapes) {
  SnapshotInfo info = sample();
  info.name = "tab\t\"quote\" \xc3\xa9 \x01";
  EXPECT_TRUE(matches(R"(name=="tab\t\"quote\" \u00e9 \x01")", info));
  EXPECT_TRUE(matches(R"(labels.a.b==dots)"));
  EXPECT_TRUE(matches(R"(labels."a.b"==dots)"));
}

TEST(SnapshotFilter, RegexIsASuperset) {
  EXPECT_TRUE(matches("name~=/^nothing$/"));
  EXPECT_FALSE(matches("labels.missing~=x"));
}

TEST(SnapshotFilter, AnyFilterSuffices) {
  std::vector<SnapshotFilter> filters;
  EXPECT_TRUE(matches_any(filters, sample()));
  filters.push_back(*SnapshotFilter::parse("name==other"));
  EXPECT_FALSE(matches_any(filters, sample()));
  filters.push_back(*SnapshotFilter::parse("name==a-wl"));
  EXPECT_TRUE(matches_any(filters, sample()));
}

TEST(SnapshotFilter, RefusesWhatIsNotAFilter) {
  for (const char* text : {",", "name==", "name=x", "name==a,", "==a", "labels.", "name==\"open",
                           "name==\"bad\\q\"", "name==\"\\x1\"", "name==\"\\u12\"", "name!x",
                           "name==a b", "name==\"\\U00110000\"", "name==\"\\", "name =="}) {
    const auto filter = SnapshotFilter::parse(text);
    ASSERT_FALSE(filter.ok()) << text;
    EXPECT_EQ(filter.error().code, Errc::kInvalid) << text;
  }
}

}  // namespace
}  // namespace dedup
