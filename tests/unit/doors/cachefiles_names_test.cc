#include "doors/cachefiles_names.h"

#include <gtest/gtest.h>

namespace dedup {
namespace {

// As Linux 6.1.192 made them.
TEST(CachefilesNames, PathsAreTheKernels) {
  struct Case {
    const char* domain;
    const char* cookie;
    const char* path;
  };
  for (const auto& [domain, cookie, path] : {
           Case{"dedup", "00000001", "cache/Ierofs,dedup/@12/D00000001"},
           Case{"dedup", "00000012", "cache/Ierofs,dedup/@71/D00000012"},
           Case{"dedup-0badcafe", "00000012", "cache/Ierofs,dedup-0badcafe/@d5/D00000012"},
           Case{"dedup-0badcafe", "4294836224", "cache/Ierofs,dedup-0badcafe/@8a/D4294836224"},
           Case{"d", "x", "cache/Ierofs,d/@1c/Dx"},
           Case{"dom", "a0b1c2d3e4f5a0b1c2d3e4f5a0b1c2d3-7",
                "cache/Ierofs,dom/@9b/Da0b1c2d3e4f5a0b1c2d3e4f5a0b1c2d3-7"},
       }) {
    const auto made = cookie_path(erofs_volume_key(domain), cookie);
    ASSERT_TRUE(made.ok()) << made.error().to_string();
    EXPECT_EQ(*made, path);
  }
}

TEST(CachefilesNames, RefusesKeysTheKernelWouldEncodeOrDieOf) {
  const std::string volume = erofs_volume_key("dedup");
  for (const std::string& key :
       {std::string(), std::string("a b"), std::string("a/b"), std::string("tab\t"),
        std::string("\xC3\xA9"), std::string(kMaxCookieKeyBytes + 1, 'x')}) {
    EXPECT_FALSE(cookie_path(volume, key).ok()) << key;
    EXPECT_FALSE(cookie_path(key, "00000001").ok()) << key;
  }
  EXPECT_TRUE(cookie_path(volume, std::string(kMaxCookieKeyBytes, 'x')).ok());
}

TEST(CachefilesNames, XattrHoldsTheSizeBigEndian) {
  const auto value = cookie_xattr(0x0102030405060708);
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(value[i], static_cast<std::byte>(i + 1));
  for (size_t i = 8; i < 16; ++i) EXPECT_EQ(value[i], std::byte{0});
  EXPECT_EQ(value[16], std::byte{1});
  EXPECT_EQ(value[17], std::byte{0});
}

}  // namespace
}  // namespace dedup
