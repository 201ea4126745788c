#include "cli/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/config_keys.h"
#include "cli/sizes.h"

namespace dedup {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const std::filesystem::path kSource = DEDUP_SOURCE_DIR;

std::string text_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(Config, AnEmptyObjectIsTheDefaults) {
  const auto config = parse_config("{}", "f");
  ASSERT_TRUE(config.ok()) << config.error().to_string();
  EXPECT_EQ(print_config(*config), print_config(Config{}));
  EXPECT_EQ(config->root, "/var/lib/dedup-snapshotter");
  EXPECT_EQ(config->chunk_bytes, 4u << 20);
}

TEST(Config, DefaultsAreAllowedValues) {
  const auto again = parse_config(print_config(Config{}), "f");
  ASSERT_TRUE(again.ok()) << again.error().to_string();
  EXPECT_EQ(print_config(*again), print_config(Config{}));
}

TEST(Config, ReadsEveryKind) {
  const auto config = parse_config(R"({
    "root": "/srv/pool//", "socket": "/run/d.sock", "door": "fanotify",
    "chunk_bytes": "1 MiB", "worker_threads": 3, "log": {"level": "debug", "format": "json"},
    "registries": {
      "registry.example:5000": {"ca_file": "/etc/ca.pem", "mirrors": ["http://m:1", "https://n"]},
      "127.0.0.1:5000": {}, "localhost": {"plain_http": false}},
    "docker_config": "", "fetch": {"retries": 0, "memory_bytes": 67108864},
    "limits": {"max_pool_bytes": "2TiB"}, "stop_timeout_ms": 5000, "mount": {"directio": true}
  })",
                                   "f");
  ASSERT_TRUE(config.ok()) << config.error().to_string();
  EXPECT_EQ(config->root, "/srv/pool");
  EXPECT_EQ(config->door, DoorSetting::kFanotify);
  EXPECT_EQ(config->chunk_bytes, 1u << 20);
  EXPECT_EQ(config->worker_threads, 3u);
  EXPECT_EQ(config->log_level, LogLevel::kDebug);
  EXPECT_EQ(config->log_format, LogFormat::kJson);
  EXPECT_FALSE(config->registries.at("registry.example:5000").plain_http);
  EXPECT_EQ(config->registries.at("registry.example:5000").mirrors.size(), 2u);
  EXPECT_TRUE(config->registries.at("127.0.0.1:5000").plain_http);
  EXPECT_FALSE(config->registries.at("localhost").plain_http);
  EXPECT_EQ(config->fetch.retries, 0u);
  EXPECT_EQ(config->fetch.memory_bytes, 64u << 20);
  EXPECT_EQ(config->limits.max_pool_bytes, 2ull << 40);
  EXPECT_TRUE(config->mount_directio);
  const auto again = parse_config(print_config(*config), "f");
  ASSERT_TRUE(again.ok()) << again.error().to_string();
  EXPECT_EQ(print_config(*again), print_config(*config));
}

// tests/corpus/config/NAME.json must be refused with every line of NAME.expect in the message.
TEST(Config, MustFail) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kSource / "tests/corpus/config")) {
    if (entry.path().extension() != ".json") continue;
    SCOPED_TRACE(entry.path().filename().string());
    ++files;
    const auto config = load_config(entry.path(), MissingFile::kError);
    ASSERT_FALSE(config.ok());
    EXPECT_EQ(config.error().code, Errc::kInvalid);
    const std::string message = config.error().to_string();
    EXPECT_THAT(message, StartsWith(entry.path().string() + ":"));
    EXPECT_EQ(message.find('\n'), std::string::npos);
    std::istringstream pieces(
        text_of(std::filesystem::path(entry.path()).replace_extension("expect")));
    int count = 0;
    for (std::string piece; std::getline(pieces, piece); ++count) {
      EXPECT_THAT(message, HasSubstr(piece));
    }
    EXPECT_GT(count, 0);
  }
  EXPECT_GE(files, 40);
}

// Every key refuses a value of a wrong type, with its own allowed values in the message.
TEST(Config, EveryKeySaysWhatIsAllowed) {
  for (const ConfigKey& key : config_keys()) {
    const std::string name(key.name);
    const auto dot = name.find('.');
    const std::string text = dot == std::string::npos ? "{\"" + name + "\": []}"
                                                      : "{\"" + name.substr(0, dot) + "\": {\"" +
                                                            name.substr(dot + 1) + "\": []}}";
    const auto config = parse_config(text, "f");
    ASSERT_FALSE(config.ok()) << name;
    EXPECT_EQ(config.error().to_string(),
              "f:1: \"" + name + "\" is a list; it must be " + allowed_values(key));
  }
}

TEST(Config, AMissingFileIsTheDefaultsOnlyWhenNobodyNamedIt) {
  const std::string path = testing::TempDir() + "/dedup-no-such-config.json";
  EXPECT_TRUE(load_config(path, MissingFile::kDefaults).ok());
  const auto named = load_config(path, MissingFile::kError);
  ASSERT_FALSE(named.ok());
  EXPECT_THAT(named.error().to_string(), HasSubstr(path));
  EXPECT_FALSE(load_config(testing::TempDir(), MissingFile::kDefaults).ok()) << "a folder";
}

TEST(Config, ReadmeHasTheReference) {
  EXPECT_THAT(text_of(kSource / "README.md"), HasSubstr(config_reference()))
      << "put this table into README.md:\n"
      << config_reference();
}

TEST(Config, ReadmeExamplesAreConfigurations) {
  const std::string readme = text_of(kSource / "README.md");
  const std::string fence = "```json\n";
  int examples = 0;
  for (size_t at = readme.find(fence); at != std::string::npos; at = readme.find(fence, at + 1)) {
    const size_t begin = at + fence.size();
    const auto config = parse_config(readme.substr(begin, readme.find("```", begin) - begin), "f");
    EXPECT_TRUE(config.ok()) << config.error().to_string();
    ++examples;
  }
  EXPECT_GT(examples, 0);
}

TEST(Sizes, ParsesAndPrints) {
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("4KiB"), 4096u);
  EXPECT_EQ(parse_size("4 MiB"), 4u << 20);
  EXPECT_EQ(parse_size("16777215TiB"), 16777215ull << 40);
  for (const char* bad : {"", "KiB", "4K", "4kib", "4 ", " 4", "-1", "+1", "4KiBx", "1.5GiB",
                          "16777216TiB", "18446744073709551616"}) {
    EXPECT_FALSE(parse_size(bad)) << bad;
  }
  EXPECT_EQ(exact_size(0), "0B");
  EXPECT_EQ(exact_size(4095), "4095B");
  EXPECT_EQ(exact_size(3 << 20), "3MiB");
  EXPECT_EQ(exact_size(1ull << 60), "1048576TiB");
  EXPECT_EQ(rounded_size(0), "0 B");
  EXPECT_EQ(rounded_size(999), "999 B");
  EXPECT_EQ(rounded_size(1000), "0.98 KiB");
  EXPECT_EQ(rounded_size(1536), "1.50 KiB");
  EXPECT_EQ(rounded_size(1023 * 1024), "1.00 MiB");
  EXPECT_EQ(rounded_size(4'200'000'000), "3.91 GiB");
  EXPECT_EQ(rounded_size(UINT64_MAX), "16777216 TiB");
}

}  // namespace
}  // namespace dedup
