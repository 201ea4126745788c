#include "pool/readahead.h"

#include <gtest/gtest.h>

#include "unit/snapshotter/temp_dir.h"

namespace dedup {
namespace {

constexpr uint64_t kMiB = 1 << 20;

class ReadaheadTest : public ::testing::Test {
 protected:
  // A segment of `count` pieces, one after the other; those from `streamed` on have no random
  // access.
  void segment_of(size_t count, uint64_t piece_bytes, size_t streamed = SIZE_MAX) {
    std::vector<Piece> pieces(count);
    for (size_t i = 0; i < count; ++i) {
      pieces[i].offset = i * piece_bytes;
      pieces[i].chunk = {i, i < streamed ? 1u : 0u, 0, piece_bytes, Codec::kNone, {}};
    }
    const SegmentHeader header{1, {}, count, count * piece_bytes};
    ASSERT_TRUE(Segment::create(dir.path(), header, pieces, {}).ok());
    auto opened = Segment::open(dir.path(), 1, -1);
    ASSERT_TRUE(opened.ok()) << opened.error().to_string();
    segment = std::move(*opened);
  }
  // Bytes named when a reader touches piece `index`.
  uint64_t named(size_t index) {
    const auto guess = readahead.touch(*segment, {index, index + 1});
    if (guess.last > guess.first) {
      EXPECT_EQ(guess.first, std::max(ahead, index + 1)) << "named twice, or one was left out";
      ahead = guess.last;
    }
    return (guess.last - guess.first) * segment->piece(0).chunk.bytes;
  }

  TempDir dir;
  std::unique_ptr<Segment> segment;
  Readahead readahead{32 * kMiB};
  size_t ahead = 0;
};

TEST_F(ReadaheadTest, StaysHalfOfWhatWasReadAheadUpToTheLimit) {
  segment_of(64, 4 * kMiB);
  for (size_t i = 0; i < 64; ++i) {
    named(i);
    const uint64_t read = (i + 1) * 4 * kMiB;
    const uint64_t want = read < 8 * kMiB ? 0 : std::min(read / 2, 32 * kMiB);
    const size_t most = i + 1 + want / (4 * kMiB);
    EXPECT_EQ(std::max(ahead, i + 1), std::min<size_t>(most, 64)) << "after piece " << i;
  }
}

TEST_F(ReadaheadTest, KnowsARunThatBeginsInTheMiddle) {
  segment_of(64, 4 * kMiB);
  EXPECT_EQ(named(30), 0u);
  EXPECT_EQ(named(31), 4 * kMiB);
  EXPECT_EQ(ahead, 33u);
}

TEST_F(ReadaheadTest, NamesNothingForTouchesInOnePiece) {
  segment_of(64, 4 * kMiB);
  named(0), named(1);
  for (int again = 0; again < 100; ++again) EXPECT_EQ(named(1), 0u);
}

TEST_F(ReadaheadTest, NamesNothingForSmallNeighbours) {
  segment_of(1024, 4096);
  for (size_t i = 0; i < 1024; ++i) EXPECT_EQ(named(i), 0u);
}

TEST_F(ReadaheadTest, BringsAlongWhatTheBlobHasBehindAMiss) {
  segment_of(64, 4096, 50);  // a byte of the blob each
  const auto behind = [this](size_t piece, uint64_t bytes) {
    const auto span = pieces_behind(*segment, piece, bytes);
    EXPECT_EQ(span.first, piece + 1);
    return span.last - span.first;
  };
  EXPECT_EQ(behind(10, 5), 4u) << "itself counts";
  EXPECT_EQ(behind(10, 1), 0u);
  EXPECT_EQ(behind(45, 100), 4u) << "the others have no random access";
  EXPECT_EQ(behind(63, 100), 0u);
  segment->set_present(13);
  EXPECT_EQ(behind(10, 5), 4u) << "one that is there does not end it";
  EXPECT_EQ(behind(10, 4), 2u) << "but is not asked for at its end";
}

TEST_F(ReadaheadTest, NamesNothingForJumps) {
  segment_of(64, 4 * kMiB);
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(named(i * 37 % 64), 0u);
}

TEST_F(ReadaheadTest, NamesNothingForAReaderThatGoesBack) {
  segment_of(64, 4 * kMiB);
  for (size_t i = 64; i-- > 0;) EXPECT_EQ(named(i), 0u);
}

TEST_F(ReadaheadTest, FollowsReadersThatTakeTurns) {
  segment_of(128, 4 * kMiB);
  uint64_t total = 0;
  for (size_t i = 0; i < 32; ++i) {
    for (const size_t begin : {0, 64}) {
      const auto guess = readahead.touch(*segment, {begin + i, begin + i + 1});
      total += guess.last - guess.first;
    }
  }
  EXPECT_EQ(total, 2u * (32 + 8 - 2));
}

TEST_F(ReadaheadTest, StopsAtWhatCannotBeFetchedAndAtTheEnd) {
  segment_of(8, 4 * kMiB, 4);
  named(0), named(1), named(2);
  EXPECT_EQ(ahead, 4u);
  EXPECT_EQ(named(3), 0u);
  for (size_t i = 4; i < 8; ++i) EXPECT_EQ(named(i), 0u);
}

TEST_F(ReadaheadTest, CanBeTurnedOff) {
  segment_of(64, 4 * kMiB);
  readahead = Readahead(0);
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(named(i), 0u);
}

}  // namespace
}  // namespace dedup
