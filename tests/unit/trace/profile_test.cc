#include "trace/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "trace/profile_file.h"
#include "unit/trace/profiles.h"

namespace dedup {
namespace {

using test::digest_of;
using test::fetched;
using test::profile_with;
using test::touched;
using testing::HasSubstr;

const std::filesystem::path kCorpus =
    std::filesystem::path(DEDUP_SOURCE_DIR) / "tests/corpus/profile";

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Bytes compressed(std::string_view text) {
  Bytes file(ZSTD_compressBound(text.size()));
  file.resize(ZSTD_compress(file.data(), file.size(), text.data(), text.size(), 1));
  return file;
}

Profile sample() {
  ProfileEntry whole;
  whole.path = "/etc/\xC3\xA4 \"quoted\"\n";
  whole.first_us = 70;
  return profile_with({touched(1, "/usr/bin/python3", {0, 131072}, 12, 2),
                       touched(0, "/lib/libc.so.6", {65536, 100}, 12), whole},
                      2);
}

Profile sample_trace() {
  Profile trace = sample();
  trace.container = "web-1";
  trace.started_s = 1790000000;
  trace.prepared_us = 250000;
  trace.fetches = {
      fetched(0, "/lib/libc.so.6", {65536, 100}, 9, FetchCause::kPrefetch),
      fetched(1, "/usr/bin/python3", {0, 131072}, 9, FetchCause::kReader, 7),
      {std::nullopt, "/rest", {4096, 1}, 12, FetchCause::kBackground, 0},
  };
  return trace;
}

TEST(Profile, WhatIsWrittenIsRead) {
  for (const Profile& profile : {sample(), sample_trace()}) {
    const auto file = write_profile(profile);
    ASSERT_TRUE(file.ok()) << file.error().to_string();
    const auto again = read_profile(*file);
    ASSERT_TRUE(again.ok()) << again.error().to_string();
    EXPECT_EQ(*again, profile);
    EXPECT_EQ(*write_profile(*again), *file);
  }
}

TEST(Profile, IsWrittenAsDocumented) {
  EXPECT_EQ(
      *profile_text(sample()),
      R"({"dedup_profile":1,"image":"sha256:)" + std::string(64, '1') +
          R"(","entrypoint":["python3","app.py"],"source":"touches","runs":2,"layers":["sha256:)" +
          std::string(64, 'a') + R"(","sha256:)" + std::string(64, 'b') +
          R"("],"entries":3})"
          "\n"
          R"({"layer":1,"path":"/usr/bin/python3","offset":0,"length":131072,"us":12,"runs":2})"
          "\n"
          R"({"layer":0,"path":"/lib/libc.so.6","offset":65536,"length":100,"us":12,"runs":1})"
          "\n"
          "{\"path\":\"/etc/\xC3\xA4 \\\"quoted\\\"\\n\",\"us\":70,\"runs\":1}\n");
}

TEST(Profile, TracesAreWrittenAsDocumented) {
  const std::string text = *profile_text(sample_trace());
  EXPECT_THAT(
      text,
      HasSubstr(
          R"("],"entries":3,"container":"web-1","started":1790000000,"prepared_us":250000,"fetches":3})"
          "\n"));
  EXPECT_THAT(
      text,
      testing::EndsWith(
          R"({"layer":0,"path":"/lib/libc.so.6","offset":65536,"length":100,"us":9,"by":"prefetch"})"
          "\n"
          R"({"layer":1,"path":"/usr/bin/python3","offset":0,"length":131072,"us":9,"by":"reader","wait_us":7})"
          "\n"
          R"({"path":"/rest","offset":4096,"length":1,"us":12,"by":"background"})"
          "\n"));
}

TEST(Profile, LaterKeysAreIgnored) {
  const auto profile = parse_profile_text(
      R"({"dedup_profile":1,"source":"list","runs":1,"layers":[],"entries":1,"later":["x"]})"
      "\n"
      R"({"path":"/a","us":0,"runs":1,"later":"x"})"
      "\n");
  ASSERT_TRUE(profile.ok()) << profile.error().to_string();
  EXPECT_EQ(profile->entries[0].path, "/a");
}

TEST(Profile, WriterRefusesWhatNoReaderTakes) {
  const auto refused = [](const Profile& profile) {
    const auto file = write_profile(profile);
    return file.ok() ? Errc::kExists : file.error().code;
  };
  EXPECT_EQ(refused(profile_with({touched(2, "/a", {0, 1}, 0)})), Errc::kInvalid);
  EXPECT_EQ(refused(profile_with({touched(0, "a", {0, 1}, 0)})), Errc::kInvalid);
  EXPECT_EQ(refused(profile_with({touched(0, "/\xFF", {0, 1}, 0)})), Errc::kInvalid);
  EXPECT_EQ(refused(profile_with({touched(0, "/a", {0, 1}, 0, 2)})), Errc::kInvalid);
  EXPECT_EQ(refused(profile_with({touched(0, "/a", {0, 1}, 5), touched(0, "/b", {0, 1}, 4)})),
            Errc::kInvalid);
  EXPECT_EQ(refused(profile_with({}, 0)), Errc::kInvalid);
  Profile many = profile_with({});
  many.layers.resize(1025);
  EXPECT_EQ(refused(many), Errc::kNoSpace);
  const auto refused_with = [&](ProfileFetch before, ProfileFetch fetch) {
    Profile trace = sample();
    trace.fetches = {std::move(before), std::move(fetch)};
    return refused(trace);
  };
  const ProfileFetch good = fetched(0, "/a", {0, 1}, 5, FetchCause::kReader);
  EXPECT_EQ(refused_with(good, good), Errc::kExists);
  EXPECT_EQ(refused_with(good, fetched(0, "/a", {0, 1}, 4, good.by)), Errc::kInvalid);
  EXPECT_EQ(refused_with(good, fetched(0, "/a", {0, 0}, 5, good.by)), Errc::kInvalid);
  EXPECT_EQ(refused_with(good, fetched(0, "a", {0, 1}, 5, good.by)), Errc::kInvalid);
  EXPECT_EQ(refused_with(good, fetched(2, "/a", {0, 1}, 5, good.by)), Errc::kInvalid);
  EXPECT_EQ(refused_with(good, fetched(0, "/a", {0, 1}, 5, good.by, UINT64_MAX)), Errc::kInvalid);
}

// A process may call itself anything.
TEST(Profile, CommandLinesOfAnyBytesAreWritten) {
  Profile profile = profile_with({});
  profile.entrypoint = {"a\xFF"};
  const auto file = write_profile(profile);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(read_profile(*file)->entrypoint[0], "a\xEF\xBF\xBD");
}

// tests/corpus/profile/NAME.jsonl must be refused with NAME.expect in the message.
TEST(Profile, MustFail) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kCorpus)) {
    if (entry.path().extension() != ".jsonl") continue;
    SCOPED_TRACE(entry.path().filename().string());
    ++files;
    const auto profile = read_profile(compressed(text_of(entry.path())));
    ASSERT_FALSE(profile.ok());
    std::string expected = text_of(std::filesystem::path(entry.path()).replace_extension("expect"));
    ASSERT_FALSE(expected.empty());
    expected.pop_back();
    EXPECT_THAT(profile.error().to_string(), HasSubstr(expected));
    EXPECT_EQ(profile.error().to_string().find('\n'), std::string::npos);
  }
  EXPECT_GE(files, 60);
}

TEST(Profile, DamagedFilesAreRefused) {
  const Bytes file = *write_profile(sample());
  for (size_t bytes = 0; bytes < file.size(); ++bytes)
    EXPECT_FALSE(read_profile(std::span(file).first(bytes)).ok()) << bytes;
  Bytes longer = file;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(read_profile(longer).ok());
  Bytes twice = file;
  twice.insert(twice.end(), file.begin(), file.end());
  EXPECT_EQ(read_profile(twice).error().code, Errc::kInvalid);
  EXPECT_EQ(read_profile(as_bytes("{}")).error().code, Errc::kCorruption);
}

// 1 GiB of spaces in 32 KiB: memory stays below the limit.
TEST(Profile, BombsAreRefused) {
  const std::string spaces(1 << 20, ' ');
  Bytes bomb;
  ZSTD_CCtx* context = ZSTD_createCCtx();
  Bytes piece(ZSTD_CStreamOutSize());
  for (int i = 0; i <= 1024; ++i) {
    ZSTD_inBuffer in{spaces.data(), spaces.size(), 0};
    for (bool more = true; more;) {
      ZSTD_outBuffer out{piece.data(), piece.size(), 0};
      const size_t left =
          ZSTD_compressStream2(context, &out, &in, i == 1024 ? ZSTD_e_end : ZSTD_e_continue);
      bomb.insert(bomb.end(), piece.begin(), piece.begin() + static_cast<ptrdiff_t>(out.pos));
      more = i == 1024 ? left != 0 : in.pos < in.size;
    }
  }
  ZSTD_freeCCtx(context);
  ASSERT_LT(bomb.size(), 1u << 20);
  EXPECT_EQ(read_profile(bomb).error().code, Errc::kNoSpace);
}

TEST(Profile, LimitsHold) {
  ProfileLimits limits;
  const Bytes file = *write_profile(sample());
  limits.max_file_bytes = file.size() - 1;
  EXPECT_EQ(read_profile(file, limits).error().code, Errc::kNoSpace);
  limits = {};
  limits.max_entries = 2;
  EXPECT_EQ(read_profile(file, limits).error().code, Errc::kNoSpace);
  EXPECT_EQ(write_profile(sample(), limits).error().code, Errc::kNoSpace);
  EXPECT_EQ(write_profile(sample_trace(), limits).error().code, Errc::kNoSpace);
  limits = {};
  limits.max_line_bytes = 50;
  EXPECT_EQ(read_profile(file, limits).error().code, Errc::kNoSpace);
}

TEST(Profile, Paths) {
  for (const std::string good : {"/a", "/a/b c", "/...", "/.a/..b", "/\xF0\x9F\x90\xA7"})
    EXPECT_TRUE(valid_profile_path(good)) << good;
  for (const std::string bad : {"", "/", "a", "//a", "/a/", "/a//b", "/.", "/..", "/a/../b",
                                "/\xC0\x80", "/\xED\xA0\x80", "/\xF4\x90\x80\x80", "/\xE2\x82"})
    EXPECT_FALSE(valid_profile_path(bad)) << bad;
  EXPECT_FALSE(valid_profile_path(std::string_view("/a\0b", 4)));
  EXPECT_TRUE(valid_profile_path("/" + std::string(255, 'a')));
  EXPECT_FALSE(valid_profile_path("/" + std::string(256, 'a')));
  std::string deep;
  while (deep.size() < 4094) deep += "/a";
  EXPECT_TRUE(valid_profile_path(deep));
  EXPECT_FALSE(valid_profile_path(deep + "/a"));
}

}  // namespace
}  // namespace dedup
