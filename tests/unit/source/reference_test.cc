#include "source/reference.h"

#include <gtest/gtest.h>

namespace dedup {
namespace {

const std::string kHex(64, 'a');

struct Case {
  std::string text, host, repository, tag;
  bool digest;
};

TEST(Reference, ParsesRegistryNames) {
  const Case cases[] = {
      {"debian", "docker.io", "library/debian", "latest", false},
      {"debian:12", "docker.io", "library/debian", "12", false},
      {"docker.io/debian", "docker.io", "library/debian", "latest", false},
      {"index.docker.io/library/debian", "docker.io", "library/debian", "latest", false},
      {"team/app", "docker.io", "team/app", "latest", false},
      {"localhost/app", "localhost", "app", "latest", false},
      {"localhost:5000/a/b/c:v1", "localhost:5000", "a/b/c", "v1", false},
      {"HOST/app", "HOST", "app", "latest", false},
      {"r.example:443/app@sha256:" + kHex, "r.example:443", "app", "", true},
      {"r.example/app:v1@sha256:" + kHex, "r.example", "app", "v1", true},
      {"[::1]:5000/app:v1", "[::1]:5000", "app", "v1", false},
      {"r.example/a__b/c-d---e/f.g_h", "r.example", "a__b/c-d---e/f.g_h", "latest", false},
  };
  for (const auto& c : cases) {
    const auto parsed = Reference::parse(c.text);
    ASSERT_TRUE(parsed.ok()) << c.text << ": " << parsed.error().to_string();
    EXPECT_EQ(parsed->kind, Reference::Kind::kRegistry);
    EXPECT_EQ(parsed->host, c.host) << c.text;
    EXPECT_EQ(parsed->repository, c.repository) << c.text;
    EXPECT_EQ(parsed->tag, c.tag) << c.text;
    EXPECT_EQ(parsed->digest.has_value(), c.digest) << c.text;
    const auto again = Reference::parse(parsed->to_string());
    ASSERT_TRUE(again.ok()) << parsed->to_string();
    EXPECT_EQ(*again, *parsed) << c.text;
  }
}

TEST(Reference, RefusesWhatTheGrammarDoesNotAllow) {
  const std::string cases[] = {
      "",
      ":tag",
      "UPPER",
      "r.example/Upper",
      "r.example/",
      "r.example//a",
      "r.example/a/",
      "r.example/a:",
      "r.example/a:b:c",
      "r.example/a:" + std::string(129, 't'),
      "r.example/a:-x",
      "r.example/../etc",
      "r.example/a..b",
      "r.example/a___b",
      "r.example/-a",
      "r.example/a b",
      "r.example/a?x=y",
      "r.example/a%2f",
      "r.example/a\nb",
      std::string("r.example/a\0b", 13),
      "user@r.example/a",
      "http://r.example/a",
      "r.example:port/a",
      "r.example:/a",
      "r.example:123456/a",
      "-r.example/a",
      "[::g]/a",
      "[::1/a",
      "r.example/a@sha256:abc",
      "r.example/a@sha512:" + kHex + kHex,
      "r.example/a@",
      "r.example/" + std::string(250, 'a'),
      "r.example/caf\xc3\xa9",
  };
  for (const auto& text : cases) {
    const auto parsed = Reference::parse(text);
    ASSERT_FALSE(parsed.ok()) << text << " -> " << parsed->to_string();
    EXPECT_EQ(parsed.error().code, Errc::kInvalid);
  }
}

TEST(Reference, ParsesLayouts) {
  const Case cases[] = {
      {"oci:/srv/images", "", "/srv/images", "", false},
      {"oci:/srv/images:v1", "", "/srv/images", "v1", false},
      {"oci:relative/dir:v1", "", "relative/dir", "v1", false},
      {"oci:/a:b:c", "", "/a:b", "c", false},
      {"oci:/a:b:", "", "/a:b", "", false},
      {"oci:/a:b/c", "", "/a:b/c", "", false},
      {"oci:/user@host/x:v1", "", "/user@host/x", "v1", false},
      {"oci:/a:v1@sha256:" + kHex, "", "/a", "v1", true},
      {"oci:/a@sha256:" + kHex, "", "/a", "", true},
  };
  for (const auto& c : cases) {
    const auto parsed = Reference::parse(c.text);
    ASSERT_TRUE(parsed.ok()) << c.text << ": " << parsed.error().to_string();
    EXPECT_EQ(parsed->kind, Reference::Kind::kOciLayout);
    EXPECT_EQ(parsed->repository, c.repository) << c.text;
    EXPECT_EQ(parsed->tag, c.tag) << c.text;
    EXPECT_EQ(parsed->digest.has_value(), c.digest) << c.text;
    const auto again = Reference::parse(parsed->to_string());
    ASSERT_TRUE(again.ok()) << parsed->to_string();
    EXPECT_EQ(*again, *parsed) << c.text << " -> " << parsed->to_string();
  }
  for (const std::string text : {"oci:", "oci::tag", "oci:/a\nb"}) {
    EXPECT_FALSE(Reference::parse(text).ok()) << text;
  }
}

TEST(Reference, LocationIsTheSameForAllTagsOfAPlace) {
  const auto one = Reference::parse("localhost:5000/app:v1");
  const auto two = Reference::parse("localhost:5000/app@sha256:" + kHex);
  const auto other = Reference::parse("localhost:5001/app:v1");
  EXPECT_EQ(one->location(), two->location());
  EXPECT_NE(one->location(), other->location());
  EXPECT_EQ(Reference::parse("oci:/a:v1")->location(), Reference::parse("oci:/a")->location());
}

}  // namespace
}  // namespace dedup
