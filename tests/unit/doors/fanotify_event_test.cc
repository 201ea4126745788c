#include "doors/fanotify_event.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <random>

#include "base/bytes.h"
#include "doors/fanotify_abi.h"

namespace dedup {
namespace {

constexpr size_t kMetadata = sizeof(fanotify_event_metadata);
constexpr size_t kRange = sizeof(FanotifyRangeRecord);

fanotify_event_metadata metadata_of(size_t record_bytes) {
  fanotify_event_metadata metadata{};
  metadata.event_len = static_cast<uint32_t>(kMetadata + record_bytes);
  metadata.vers = FANOTIFY_METADATA_VERSION;
  metadata.metadata_len = kMetadata;
  metadata.mask = FAN_PRE_ACCESS;
  metadata.fd = 9;
  metadata.pid = 1234;
  return metadata;
}

Bytes event_with(FanotifyRangeRecord record) {
  const auto metadata = metadata_of(kRange);
  Bytes bytes(kMetadata + kRange);
  std::memcpy(bytes.data(), &metadata, kMetadata);
  std::memcpy(bytes.data() + kMetadata, &record, kRange);
  return bytes;
}

FanotifyRangeRecord range_of(uint64_t offset, uint64_t count) {
  return {{FAN_EVENT_INFO_TYPE_RANGE, 0, kRange}, 0, offset, count};
}

TEST(FanotifyEvent, WholeEventInAJournalSlot) {
  Bytes bytes = event_with(range_of(8192, 4096));
  bytes.resize(56);  // the slot is longer than the event
  const auto event = parse_event(bytes);
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(event->fd, 9);
  EXPECT_EQ(event->pid, 1234);
  EXPECT_EQ(event->event_bytes, kMetadata + kRange);
  EXPECT_EQ(event->range, (ByteRange{8192, 4096}));
}

TEST(FanotifyEvent, RangeAfterARecordOfAnotherType) {
  const auto metadata = metadata_of(8 + kRange);
  const FanotifyRangeRecord record = range_of(4096, 1);
  Bytes bytes(metadata.event_len);
  std::memcpy(bytes.data(), &metadata, kMetadata);
  const fanotify_event_info_header pidfd{FAN_EVENT_INFO_TYPE_PIDFD, 0, 8};
  std::memcpy(bytes.data() + kMetadata, &pidfd, sizeof(pidfd));
  std::memcpy(bytes.data() + kMetadata + 8, &record, kRange);
  EXPECT_EQ(parse_event(bytes)->range, (ByteRange{4096, 1}));
}

TEST(FanotifyEvent, TruncatedOrAlienBytesAreNoEvent) {
  const Bytes whole = event_with(range_of(0, 4096));
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    EXPECT_FALSE(parse_event(std::span(whole).first(bytes)).ok()) << bytes;
  }
  EXPECT_FALSE(parse_event(Bytes(56)).ok());
  Bytes version = whole;
  version[4] = std::byte{4};
  EXPECT_FALSE(parse_event(version).ok());
  Bytes short_header = whole;
  short_header[6] = std::byte{23};
  EXPECT_FALSE(parse_event(short_header).ok());
  Bytes long_header = whole;
  long_header[6] = std::byte{49};
  EXPECT_FALSE(parse_event(long_header).ok());
}

// The event must still be answered, so only the range is lost; and no range asks for everything.
TEST(FanotifyEvent, DamagedRecordListAsksForTheWholeSegment) {
  for (const unsigned record_bytes : {0u, 3u, 23u, 25u, 0xffffu}) {
    FanotifyRangeRecord record = range_of(0, 4096);
    record.hdr.len = static_cast<uint16_t>(record_bytes);
    const auto event = parse_event(event_with(record));
    ASSERT_TRUE(event.ok()) << record_bytes;
    EXPECT_FALSE(event->range.has_value()) << record_bytes;
    EXPECT_EQ(wanted_range(*event, 1 << 20), (ByteRange{0, 1 << 20}));
  }
}

TEST(FanotifyEvent, RangeIsClampedToTheSegment) {
  const auto wanted = [](uint64_t offset, uint64_t count, uint64_t segment_bytes) {
    return wanted_range(*parse_event(event_with(range_of(offset, count))), segment_bytes);
  };
  EXPECT_EQ(wanted(4096, 8192, 8192), (ByteRange{4096, 4096}));
  EXPECT_TRUE(wanted(8192, 4096, 8192).empty());
  EXPECT_TRUE(wanted(UINT64_MAX, UINT64_MAX, 8192).empty());
  EXPECT_TRUE(wanted(4096, 0, 8192).empty());
  EXPECT_EQ(wanted(4096, UINT64_MAX, 8192), (ByteRange{4096, 4096}));
}

TEST(FanotifyEvent, RandomBytesNeverReadOutOfBounds) {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    Bytes bytes = event_with(range_of(0, 4096));
    bytes.resize(bytes.size() + random() % 9);
    for (int i = 0; i < 4; ++i) bytes[random() % bytes.size()] = std::byte(random());
    const Bytes exact(bytes.begin(), bytes.begin() + static_cast<long>(random() % bytes.size()));
    if (const auto event = parse_event(exact); event.ok()) {
      EXPECT_LE(event->event_bytes, exact.size());
      const ByteRange wanted = wanted_range(*event, 1 << 20);
      EXPECT_TRUE(wanted.empty() || wanted.end() <= 1u << 20);
    }
  }
}

TEST(FanotifyAnswer, OnlyErrnosTheKernelTakes) {
  for (const int number : {EIO, EPERM, EBUSY, ETXTBSY, EAGAIN, ENOSPC, EDQUOT}) {
    EXPECT_EQ(deniable_errno(number), number);
  }
  for (const int number : {0, -5, ENOENT, EINVAL, ENOMEM, 4096}) {
    EXPECT_EQ(deniable_errno(number), EIO);
  }
  EXPECT_EQ(fanotify_deny(EIO), 0x05000002u);
}

}  // namespace
}  // namespace dedup
