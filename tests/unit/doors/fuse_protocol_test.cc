#include "doors/fuse_protocol.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <random>

#include "base/bytes.h"
#include "doors/kept_state.h"

namespace dedup {
namespace {

Bytes request_bytes(uint32_t opcode, uint64_t node, std::span<const std::byte> arguments) {
  fuse_in_header header{};
  header.len = static_cast<uint32_t>(sizeof(header) + arguments.size());
  header.opcode = opcode;
  header.unique = 0x1122334455667788;
  header.nodeid = node;
  header.pid = 4321;
  Bytes bytes(header.len);
  std::memcpy(bytes.data(), &header, sizeof(header));
  std::ranges::copy(arguments, bytes.begin() + sizeof(header));
  return bytes;
}

template <typename T>
Bytes request_with(uint32_t opcode, const T& argument) {
  return request_bytes(opcode, fuse_node(5), std::as_bytes(std::span(&argument, 1)));
}

Bytes lookup_of(std::string_view name) {
  return request_bytes(FUSE_LOOKUP, FUSE_ROOT_ID, as_bytes(name));
}

std::optional<uint32_t> looked_up(std::string_view name) {
  const Bytes bytes = lookup_of(name);
  return looked_up_segment(parse_fuse_request(bytes).value());
}

TEST(FuseRequest, WholeRequestInAJournalSlot) {
  fuse_read_in read{};
  read.offset = 8192;
  read.size = 4096;
  Bytes bytes = request_with(FUSE_READ, read);
  ASSERT_EQ(bytes.size(), 80u);
  bytes.resize(sizeof(FuseSlot));
  const auto request = parse_fuse_request(bytes);
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->opcode, uint32_t{FUSE_READ});
  EXPECT_EQ(request->unique, 0x1122334455667788u);
  EXPECT_EQ(request->pid, 4321u);
  EXPECT_EQ(fuse_segment(request->node), 5u);
  EXPECT_EQ(request->arguments.size(), sizeof(read));
  EXPECT_EQ(read_range(*request, 1 << 20), (ByteRange{8192, 4096}));
}

TEST(FuseRequest, TruncatedOrAlienBytesAreNoRequest) {
  const Bytes whole = request_with(FUSE_READ, fuse_read_in{});
  for (size_t bytes = 0; bytes < sizeof(fuse_in_header); ++bytes) {
    EXPECT_FALSE(parse_fuse_request(std::span(whole).first(bytes)).ok()) << bytes;
  }
  EXPECT_FALSE(parse_fuse_request(Bytes(sizeof(FuseSlot))).ok());
  Bytes short_length = whole;
  short_length[0] = std::byte{39};
  EXPECT_FALSE(parse_fuse_request(short_length).ok());
}

TEST(FuseRequest, OfALongOneTheBeginningIsKept) {
  const Bytes whole = request_bytes(FUSE_BATCH_FORGET, 0, Bytes(4000));
  const auto request = parse_fuse_request(std::span(whole).first(sizeof(FuseSlot)));
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->arguments.size(), sizeof(FuseSlot) - sizeof(fuse_in_header));
}

TEST(FuseRead, RangeEndsWithTheFile) {
  const auto range = [](uint64_t offset, uint32_t size, uint64_t file_bytes) {
    fuse_read_in read{};
    read.offset = offset;
    read.size = size;
    const Bytes bytes = request_with(FUSE_READ, read);
    return read_range(parse_fuse_request(bytes).value(), file_bytes);
  };
  EXPECT_EQ(range(4096, 8192, 8192), (ByteRange{4096, 4096}));
  EXPECT_TRUE(range(8192, 4096, 8192)->empty());
  EXPECT_TRUE(range(UINT64_MAX, UINT32_MAX >> 12, 8192)->empty());
  EXPECT_TRUE(range(0, 0, 8192)->empty());
  EXPECT_FALSE(range(0, kFuseMaxReadBytes + 1, 1ull << 40).has_value());
  EXPECT_FALSE(range(0, UINT32_MAX, 1ull << 40).has_value());
}

TEST(FuseRead, WithoutItsArgumentIsRefused) {
  const Bytes bytes = request_bytes(FUSE_READ, fuse_node(5), Bytes(sizeof(fuse_read_in) - 1));
  EXPECT_FALSE(read_range(parse_fuse_request(bytes).value(), 8192).has_value());
}

TEST(FuseName, IsTheNumberWithEightDigitsOrMore) {
  for (const uint32_t segment : {0u, 1u, 99999999u, 100000000u, UINT32_MAX}) {
    EXPECT_EQ(looked_up(fuse_name(segment) + '\0'), segment);
    EXPECT_EQ(fuse_segment(fuse_node(segment)), segment);
  }
  EXPECT_EQ(fuse_name(7), "00000007");
}

TEST(FuseName, NothingElseIsASegment) {
  using namespace std::string_view_literals;
  for (const std::string_view name :
       {""sv, "\0"sv, "7\0"sv, "0000007\0"sv, "000000007\0"sv, "00000007"sv, "00000007.data\0"sv,
        "+0000007\0"sv, "-0000007\0"sv, " 0000007\0"sv, "0000000x\0"sv, "4294967296\0"sv,
        "99999999999999999999\0"sv, "..\0"sv}) {
    EXPECT_FALSE(looked_up(name).has_value()) << name;
  }
  EXPECT_FALSE(fuse_segment(0).has_value());
  EXPECT_FALSE(fuse_segment(FUSE_ROOT_ID).has_value());
  EXPECT_FALSE(fuse_segment(uint64_t{UINT32_MAX} + 3).has_value());
}

TEST(FuseInit, OffersNoMoreThanTheKernelAndTakesWhatIsNeeded) {
  fuse_init_in in{};
  in.major = FUSE_KERNEL_VERSION;
  in.minor = 36;
  in.max_readahead = 131072;
  in.flags = UINT32_MAX;
  const auto answer = [&] {
    const Bytes bytes = request_with(FUSE_INIT, in);
    return init_answer(parse_fuse_request(bytes).value(), 3840);
  };
  ASSERT_TRUE(answer().has_value());
  EXPECT_EQ(answer()->minor, 36u);
  EXPECT_EQ(answer()->flags, uint32_t{FUSE_ASYNC_DIO | FUSE_MAX_PAGES});
  EXPECT_EQ(answer()->max_background, 3840);
  EXPECT_EQ(answer()->congestion_threshold, 2880);
  EXPECT_EQ(answer()->max_pages * 4096u, kFuseMaxReadBytes);
  in.flags = FUSE_MAX_PAGES;
  in.minor = 99;
  EXPECT_EQ(answer()->flags, uint32_t{FUSE_MAX_PAGES});
  EXPECT_EQ(answer()->minor, uint32_t{FUSE_KERNEL_MINOR_VERSION});
  in.major = FUSE_KERNEL_VERSION + 1;  // the kernel comes back with ours
  EXPECT_EQ(answer()->major, uint32_t{FUSE_KERNEL_VERSION});
  in.major = FUSE_KERNEL_VERSION - 1;
  EXPECT_FALSE(answer().has_value());
  in = {FUSE_KERNEL_VERSION, 35, 0, 0, 0, {}};
  EXPECT_FALSE(answer().has_value());
  EXPECT_FALSE(init_answer(parse_fuse_request(request_bytes(FUSE_INIT, 0, Bytes(8))).value(), 1));
}

TEST(FuseAnswer, HeaderSaysWhatFollows) {
  EXPECT_EQ(answer_header(7, 0, 100).len, sizeof(fuse_out_header) + 100);
  EXPECT_EQ(answer_header(7, 0, 100).unique, 7u);
  EXPECT_EQ(answer_header(7, EIO, 100).len, sizeof(fuse_out_header));
  EXPECT_EQ(answer_header(7, EIO, 100).error, -EIO);
}

// A remembered entry would outlive a detach.
TEST(FuseAnswer, EntryIsLookedUpAtEachMount) {
  const fuse_entry_out entry = file_entry(5, 8192);
  EXPECT_EQ(entry.nodeid, fuse_node(5));
  EXPECT_EQ(entry.entry_valid, 0u);
  EXPECT_EQ(entry.entry_valid_nsec, 0u);
  EXPECT_EQ(entry.attr.size, 8192u);
  EXPECT_EQ(entry.attr.mode, uint32_t{S_IFREG | 0400});
}

TEST(FuseRequest, RandomBytesNeverReadOutOfBounds) {
  std::mt19937 random(1);
  const Bytes seeds[] = {
      request_with(FUSE_READ, fuse_read_in{}), lookup_of("00000005\0"),
      request_with(FUSE_INIT, fuse_init_in{FUSE_KERNEL_VERSION, 38, 0, 0, 0, {}})};
  for (int round = 0; round < 60000; ++round) {
    Bytes bytes = seeds[random() % 3];
    for (int i = 0; i < 4; ++i) bytes[random() % bytes.size()] = std::byte(random());
    const Bytes exact(bytes.begin(), bytes.begin() + static_cast<long>(random() % bytes.size()));
    const auto request = parse_fuse_request(exact);
    if (!request.ok()) continue;
    EXPECT_LE(request->arguments.size(), exact.size());
    (void)looked_up_segment(*request);
    (void)init_answer(*request, 100);
    if (const auto range = read_range(*request, 1 << 20)) {
      EXPECT_LE(range->end(), 1u << 20);
    }
  }
}

}  // namespace
}  // namespace dedup
