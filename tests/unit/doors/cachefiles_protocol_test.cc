#include "doors/cachefiles_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/bytes.h"

namespace dedup {
namespace {

using ::testing::HasSubstr;

enum : uint32_t { kOpen = 0, kClose = 1, kRead = 2 };

template <typename T>
void put(Bytes& bytes, T value) {
  bytes.resize(bytes.size() + sizeof(T));
  store_le<T>(std::span(bytes).last(sizeof(T)), value);
}

Bytes message(uint32_t id, uint32_t opcode, uint32_t object, const Bytes& payload) {
  Bytes bytes;
  put<uint32_t>(bytes, id);
  put<uint32_t>(bytes, opcode);
  put<uint32_t>(bytes, static_cast<uint32_t>(16 + payload.size()));
  put<uint32_t>(bytes, object);
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

Bytes open_payload(std::string_view volume, std::string_view cookie, uint32_t fd) {
  Bytes bytes;
  put<uint32_t>(bytes, static_cast<uint32_t>(volume.size()));
  put<uint32_t>(bytes, static_cast<uint32_t>(cookie.size()));
  put<uint32_t>(bytes, fd);
  put<uint32_t>(bytes, 0);
  for (const std::string_view key : {volume, cookie}) {
    bytes.insert(bytes.end(), as_bytes(key).begin(), as_bytes(key).end());
  }
  return bytes;
}

Bytes read_payload(uint64_t offset, uint64_t length) {
  Bytes bytes;
  put<uint64_t>(bytes, offset);
  put<uint64_t>(bytes, length);
  return bytes;
}

constexpr std::string_view kVolume("erofs,dom\0", 10);

void expect_refused(const Bytes& bytes, const char* why) {
  const auto parsed = parse_cachefiles_message(bytes);
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.error().code, Errc::kInvalid);
  EXPECT_THAT(parsed.error().to_string(), HasSubstr(why));
}

TEST(CachefilesProtocol, ParsesOpen) {
  const auto parsed =
      parse_cachefiles_message(message(7, kOpen, 3, open_payload(kVolume, "pool", 5)));
  ASSERT_TRUE(parsed.ok()) << parsed.error().to_string();
  const auto& open = std::get<CachefilesOpen>(*parsed);
  EXPECT_EQ(open.message, 7u);
  EXPECT_EQ(open.object, 3u);
  EXPECT_EQ(open.fd, 5);
  EXPECT_EQ(open.volume, "erofs,dom");
  EXPECT_EQ(open.cookie, "pool");
}

TEST(CachefilesProtocol, ParsesReadAndClose) {
  const auto read = parse_cachefiles_message(message(9, kRead, 4, read_payload(8192, 131072)));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(std::get<CachefilesRead>(*read).message, 9u);
  EXPECT_EQ(std::get<CachefilesRead>(*read).object, 4u);
  EXPECT_EQ(std::get<CachefilesRead>(*read).range, (ByteRange{8192, 131072}));
  const auto close = parse_cachefiles_message(message(141, kClose, 1, {}));
  ASSERT_TRUE(close.ok());
  EXPECT_EQ(std::get<CachefilesClose>(*close).object, 1u);
}

TEST(CachefilesProtocol, RefusesWhatDoesNotAddUp) {
  expect_refused({}, "shorter than its header");
  Bytes cut = message(0, kRead, 1, read_payload(0, 4096));
  cut.resize(24);
  expect_refused(cut, "length field");
  expect_refused(message(0, kRead, 1, {}), "READ");
  expect_refused(message(0, kRead, 1, read_payload(UINT64_MAX, 2)), "overflows");
  expect_refused(message(0, kClose, 1, Bytes(4)), "CLOSE");
  expect_refused(message(0, 3, 1, {}), "unknown opcode");
  expect_refused(message(0, kOpen, 1, Bytes(15)), "OPEN is too short");
  expect_refused(message(0, kOpen, 1, open_payload("erofs,dom", "pool", 5)), "NUL");
  expect_refused(message(0, kOpen, 1, open_payload("", "pool", 5)), "NUL");
  expect_refused(message(0, kOpen, 1, open_payload(kVolume, "pool", 0xFFFFFFFF)), "fd");
  Bytes huge = open_payload(kVolume, "pool", 5);
  store_le<uint32_t>(std::span(huge), 0xFFFFFFFF);  // wraps to a small sum in 32 bits
  store_le<uint32_t>(std::span(huge).subspan(4), 15);
  expect_refused(message(0, kOpen, 1, huge), "lengths");
}

TEST(CachefilesProtocol, NeverReadsBeyondTheMessage) {
  std::mt19937 random(5);
  const std::vector<Bytes> seeds = {message(1, kOpen, 2, open_payload(kVolume, "00000012", 9)),
                                    message(2, kRead, 2, read_payload(4096, 4096)),
                                    message(3, kClose, 2, {})};
  size_t refused = 0;
  for (int round = 0; round < 20000; ++round) {
    Bytes bytes = seeds[random() % seeds.size()];
    for (unsigned i = 0; i < 1 + random() % 4; ++i) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    if (random() % 3 == 0) bytes.resize(random() % (bytes.size() + 1));
    bytes.shrink_to_fit();  // the sanitizer sees a read beyond
    refused += parse_cachefiles_message(bytes).ok() ? 0 : 1;
  }
  EXPECT_GT(refused, 10000u);
}

TEST(CachefilesProtocol, CopenIsOneLine) {
  EXPECT_EQ(copen_command(12, 1099511627776), "copen 12,1099511627776");
  EXPECT_EQ(copen_command(0, -2), "copen 0,-2");
}

}  // namespace
}  // namespace dedup
