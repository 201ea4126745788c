#include "pool/segment.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "pool/files.h"
#include "unit/snapshotter/temp_dir.h"

namespace dedup {
namespace {

constexpr SegmentId kId = 7;

class SegmentFiles : public ::testing::Test {
 protected:
  // Pieces of 4096, 100, 5000 and 1 bytes at 0, 4096, 8192 and 16384.
  void SetUp() override {
    const uint64_t offsets[] = {0, 4096, 8192, 16384};
    const uint64_t sizes[] = {4096, 100, 5000, 1};
    for (size_t i = 0; i < 4; ++i) {
      Piece piece;
      piece.offset = offsets[i];
      piece.chunk = {1000 * i,
                     10 + i,
                     3 * i,
                     sizes[i],
                     static_cast<Codec>(i % 3),
                     sha256(as_bytes(std::to_string(i)))};
      pieces.push_back(piece);
    }
    ASSERT_TRUE(create({}).ok());
  }
  Result<void> create(std::vector<PieceState> states) {
    return Segment::create(dir.path(), {kId, sha256(as_bytes("blob")), 77777, 20480}, pieces,
                           states);
  }
  Result<std::unique_ptr<Segment>> open() { return Segment::open(dir.path(), kId, -1); }
  std::string file(const char* suffix) { return dir / (std::string("00000007.") + suffix); }
  std::string content(const char* suffix) {
    std::ifstream in(file(suffix), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void replace(const char* suffix, const std::string& text) {
    std::ofstream(file(suffix), std::ios::binary) << text;
  }

  TempDir dir;
  std::vector<Piece> pieces;
};

TEST_F(SegmentFiles, OpensWhatWasCreated) {
  auto segment = open();
  ASSERT_TRUE(segment.ok()) << segment.error().to_string();
  EXPECT_EQ((*segment)->header().blob, sha256(as_bytes("blob")));
  EXPECT_EQ((*segment)->header().blob_bytes, 77777U);
  EXPECT_EQ((*segment)->header().data_bytes, 20480U);
  ASSERT_EQ((*segment)->piece_count(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ((*segment)->piece(i).offset, pieces[i].offset);
    EXPECT_EQ((*segment)->piece(i).chunk, pieces[i].chunk);
    EXPECT_EQ((*segment)->state(i), PieceState::kMissing);
  }
  EXPECT_EQ((*segment)->missing_pieces(), 4U);
  EXPECT_FALSE((*segment)->dirty());
  struct stat status {};
  ASSERT_EQ(::stat(file("data").c_str(), &status), 0);
  EXPECT_EQ(status.st_size, 20480);
}

TEST_F(SegmentFiles, FindsThePiecesOfARange) {
  const auto segment = std::move(*open());
  struct Case {
    ByteRange range;
    size_t first, last;
  };
  const Case cases[] = {
      {{0, 1}, 0, 1},     {{0, 4096}, 0, 1},    {{4095, 1}, 0, 1},     {{4095, 2}, 0, 2},
      {{4196, 10}, 2, 2}, {{4195, 4000}, 1, 3}, {{0, 20480}, 0, 4},    {{13191, 1}, 2, 3},
      {{13192, 1}, 3, 3}, {{16384, 1}, 3, 4},   {{16385, 5000}, 4, 4}, {{100000, 10}, 4, 4},
  };
  for (const Case& one : cases) {
    const auto span = segment->pieces_in(one.range);
    EXPECT_EQ(span.first, one.first) << one.range.offset << "+" << one.range.length;
    EXPECT_EQ(span.last, one.last) << one.range.offset << "+" << one.range.length;
  }
}

TEST_F(SegmentFiles, PresenceIsCountedAndMadeDurable) {
  {
    const auto segment = std::move(*open());
    EXPECT_FALSE(segment->present({4096, 1}));
    EXPECT_TRUE(segment->present({4196, 100}));  // padding only
    segment->set_present(1);
    segment->set_present(1);
    EXPECT_TRUE(segment->present({4096, 100}));
    EXPECT_EQ(segment->present_bytes(), 100U);
    segment->set_present(2);
    segment->set_dead(3);
    EXPECT_TRUE(segment->present({16384, 1}));
    EXPECT_EQ(segment->missing_pieces(), 1U);
    segment->set_missing(2);
    EXPECT_EQ(segment->missing_pieces(), 2U);
    EXPECT_EQ(segment->present_bytes(), 100U);
    EXPECT_EQ(content("state"), std::string(4, '\0')) << "states are written only by write_states";
    ASSERT_TRUE(segment->dirty());
    ASSERT_TRUE(Segment::write_states(segment->take_dirty()).ok());
    EXPECT_FALSE(segment->dirty());
    segment->set_present(0);
    EXPECT_FALSE(segment->complete());
  }
  EXPECT_EQ(content("state"), std::string("\0\1\0\2", 4));
  const auto segment = std::move(*open());
  EXPECT_EQ(segment->state(0), PieceState::kMissing) << "never flushed";
  EXPECT_EQ(segment->state(1), PieceState::kPresent);
  EXPECT_EQ(segment->state(3), PieceState::kDead);
  EXPECT_EQ(segment->present_bytes(), 100U);
}

TEST_F(SegmentFiles, RefusesADamagedTable) {
  const std::string table = content("table");
  for (size_t at = 0; at < table.size(); at += 7) {
    std::string damaged = table;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    replace("table", damaged);
    const auto segment = open();
    ASSERT_FALSE(segment.ok()) << "byte " << at;
    EXPECT_EQ(segment.error().code, Errc::kCorruption) << "byte " << at;
  }
  for (const size_t length :
       {size_t{0}, size_t{31}, size_t{111}, size_t{112}, table.size() - 80, table.size() - 1}) {
    replace("table", table.substr(0, length));
    const auto segment = open();
    ASSERT_FALSE(segment.ok()) << "length " << length;
    EXPECT_EQ(segment.error().code, Errc::kCorruption) << "length " << length;
  }
  // Whole, yet another segment's.
  ASSERT_TRUE(Segment::create(dir.path(), {8, {}, 0, 20480}, pieces, {}).ok());
  std::filesystem::copy_file(dir / "00000008.table", file("table"),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_FALSE(open().ok());
}

TEST_F(SegmentFiles, RefusesDamagedStates) {
  for (const std::string& states :
       {std::string(), std::string(3, '\1'), std::string("\0\0\3\0", 4)}) {
    replace("state", states);
    const auto segment = open();
    ASSERT_FALSE(segment.ok()) << states.size();
    EXPECT_EQ(segment.error().code, Errc::kCorruption);
  }
}

// A fail-closed stop cuts the file. Were the states on disk still to say present when the file is
// long again, a death before the next flush would turn the cut part into zeros that count as data.
TEST_F(SegmentFiles, PiecesBeyondACutFileAreMissingOnDiskToo) {
  ASSERT_TRUE(create(std::vector<PieceState>(4, PieceState::kPresent)).ok());
  ASSERT_EQ(::truncate(file("data").c_str(), 8192 + 4999), 0);
  const auto segment = std::move(*open());
  EXPECT_EQ(segment->state(1), PieceState::kPresent);
  EXPECT_EQ(segment->state(2), PieceState::kMissing);
  EXPECT_EQ(segment->state(3), PieceState::kMissing);
  EXPECT_EQ(segment->missing_pieces(), 2U);
  EXPECT_EQ(segment->present_bytes(), 4196U);
  // A fetched piece makes the file grow by itself, before restore_size() is called.
  EXPECT_EQ(content("state"), std::string("\1\1\0\0", 4));
  ASSERT_TRUE(Segment::restore_size(segment->take_dirty(), 20480).ok());
  struct stat status {};
  ASSERT_EQ(::stat(file("data").c_str(), &status), 0);
  EXPECT_EQ(status.st_size, 20480);
  const auto again = std::move(*open());
  EXPECT_EQ(again->state(2), PieceState::kMissing);
}

TEST_F(SegmentFiles, KeepsDataAStreamingPassWrote) {
  replace("data", std::string(20481, 'x'));
  ASSERT_TRUE(create(std::vector<PieceState>(4, PieceState::kPresent)).ok());
  EXPECT_EQ(content("data"), std::string(20480, 'x'));
  EXPECT_TRUE((*open())->complete());
}

TEST_F(SegmentFiles, RemoveTakesAllFilesAndMayRepeat) {
  EXPECT_TRUE(Segment::remove(dir.path(), kId).ok());
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  EXPECT_TRUE(Segment::remove(dir.path(), kId).ok());
  const auto segment = open();
  ASSERT_FALSE(segment.ok());
  EXPECT_EQ(segment.error().code, Errc::kNotFound);
}

}  // namespace
}  // namespace dedup
