#include "format/extent_hasher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

namespace dedup {
namespace {

constexpr uint32_t kChunk = 4096;

struct Collector {
  std::map<uint64_t, Bytes> extents;
  const std::byte* last_data = nullptr;

  ExtentHasher::Sink sink() {
    return
        [this](uint64_t offset, std::span<const std::byte> bytes, Digest identity) -> Result<void> {
          EXPECT_EQ(identity, sha256(bytes));
          EXPECT_TRUE(extents.empty() || extents.rbegin()->first < offset);
          extents.emplace(offset, Bytes(bytes.begin(), bytes.end()));
          last_data = bytes.data();
          return {};
        };
  }
};

Bytes noise(size_t bytes, unsigned seed = 1) {
  std::mt19937 random(seed);
  Bytes out(bytes);
  for (std::byte& byte : out) byte = static_cast<std::byte>(random() | 1);
  return out;
}

void expect_ok(const Result<void>& result) {
  EXPECT_TRUE(result.ok()) << result.error().to_string();
}

// Data at `ranges` of `file`, the rest holes; in pieces of `step` bytes.
std::map<uint64_t, Bytes> hash(const Bytes& file,
                               const std::vector<std::pair<size_t, size_t>>& ranges, size_t step) {
  Collector collector;
  ExtentHasher hasher(kChunk, collector.sink());
  hasher.begin(file.size());
  for (const auto& [offset, length] : ranges) {
    for (size_t done = 0; done < length; done += step) {
      const size_t take = std::min(step, length - done);
      expect_ok(hasher.data(offset + done, std::span(file).subspan(offset + done, take)));
    }
  }
  expect_ok(hasher.end());
  return collector.extents;
}

TEST(ExtentHasher, AnySplitGivesTheSameExtents) {
  for (const size_t bytes : {1, 4095, 4096, 4097, 8192, 20'000}) {
    const Bytes file = noise(bytes);
    std::map<uint64_t, Bytes> want;
    for (size_t at = 0; at < bytes; at += kChunk) {
      const auto part = std::span(file).subspan(at, std::min<size_t>(kChunk, bytes - at));
      want.emplace(at, Bytes(part.begin(), part.end()));
    }
    for (const size_t step : {1, 7, 512, 4095, 4096, 4097, 100'000}) {
      EXPECT_EQ(hash(file, {{0, bytes}}, step), want) << bytes << " by " << step;
    }
  }
}

TEST(ExtentHasher, HolesAreNotEmittedAndPartlyCoveredExtentsAreFilled) {
  Bytes file(6 * kChunk + 100);
  const std::vector<std::pair<size_t, size_t>> ranges = {
      {kChunk + 10, 20}, {kChunk + 90, 5}, {3 * kChunk - 1, 2}, {5 * kChunk, kChunk}};
  const Bytes data = noise(file.size());
  for (const auto& [offset, length] : ranges)
    std::copy_n(data.begin() + static_cast<ptrdiff_t>(offset), length,
                file.begin() + static_cast<ptrdiff_t>(offset));
  for (const size_t step : {1, 3, 10'000}) {
    const auto got = hash(file, ranges, step);
    ASSERT_EQ(got.size(), 4u);
    for (const auto& [offset, bytes] : got) {
      EXPECT_TRUE(offset == kChunk || offset == 2 * kChunk || offset == 3 * kChunk ||
                  offset == 5 * kChunk);
      EXPECT_TRUE(
          std::equal(bytes.begin(), bytes.end(), file.begin() + static_cast<ptrdiff_t>(offset)));
      EXPECT_EQ(bytes.size(), kChunk);
    }
  }
}

TEST(ExtentHasher, ZeroBytesAreAHole) {
  Bytes file(3 * kChunk);
  file[2 * kChunk - 1] = std::byte{1};
  for (const size_t step : {1, 4096, 100'000}) {
    const auto got = hash(file, {{0, file.size()}}, step);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got.begin()->first, kChunk);
  }
}

TEST(ExtentHasher, WholeExtentsAreNotCopied) {
  Collector collector;
  ExtentHasher hasher(kChunk, collector.sink());
  const Bytes file = noise(2 * kChunk);
  hasher.begin(file.size());
  expect_ok(hasher.data(0, file));
  EXPECT_EQ(collector.last_data, file.data() + kChunk);
}

TEST(ExtentHasher, FilesDoNotMix) {
  Collector first;
  ExtentHasher hasher(kChunk, first.sink());
  hasher.begin(10);
  expect_ok(hasher.data(0, noise(4)));  // the rest is a hole
  expect_ok(hasher.end());
  EXPECT_EQ(first.extents.at(0).size(), 10u);
  first.extents.clear();
  hasher.begin(0);
  expect_ok(hasher.end());
  hasher.begin(3);
  expect_ok(hasher.data(0, noise(3, 9)));
  expect_ok(hasher.end());
  EXPECT_EQ(first.extents.at(0), noise(3, 9));
}

TEST(ExtentHasher, RefusesDataOutOfOrderOrPastTheEnd) {
  Collector collector;
  ExtentHasher hasher(kChunk, collector.sink());
  const Bytes data = noise(kChunk);
  const auto second = [&](uint64_t first_offset, size_t first_bytes, uint64_t offset,
                          size_t bytes) {
    collector.extents.clear();
    hasher.begin(2 * kChunk);
    expect_ok(hasher.data(first_offset, std::span(data).first(first_bytes)));
    return hasher.data(offset, std::span(data).first(bytes)).ok();
  };
  EXPECT_TRUE(second(0, 10, 10, 1));
  EXPECT_FALSE(second(0, 10, 9, 1));
  EXPECT_FALSE(second(0, kChunk, 0, kChunk));
  EXPECT_FALSE(second(kChunk, 1, 0, 1));
  EXPECT_FALSE(second(0, 1, 2 * kChunk, 1));
  EXPECT_FALSE(second(0, 1, 2 * kChunk - 1, 2));
  EXPECT_FALSE(second(0, 1, UINT64_MAX, 2));
}

TEST(ExtentHasher, SinkErrorsComeBack) {
  ExtentHasher hasher(kChunk, [](uint64_t, std::span<const std::byte>, Digest) -> Result<void> {
    return make_error(Errc::kNoSpace, "full");
  });
  hasher.begin(1);
  EXPECT_EQ(hasher.data(0, noise(1)).error().code, Errc::kNoSpace);
}

}  // namespace
}  // namespace dedup
