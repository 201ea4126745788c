// Segment: one sparse file of the pool, the table of its pieces, and which of them are present. A
// segment holds the extents that were new when one layer came to the node; all its bytes come from
// that layer's blob.
//
//   NNNNNNNN.data   sparse file; slots are 4 KiB aligned; padding between slots is never written
//   (reads as zeros) NNNNNNNN.table  written once: 80-byte header, 80-byte piece records sorted by
//   offset, sha256 of all before it NNNNNNNN.state  one byte per piece: 0 missing, 1 present, 2
//   dead (freed; its bytes are punched or about to be)
//
// Crash order: data is fdatasync'ed before a state byte says present, a state byte says dead before
// its bytes are punched. In memory a piece may be present earlier: verified bytes in the page cache
// are as good for readers of this boot. Loop thread, except the static functions and the read-only
// table, which any thread may use.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/byte_range.h"
#include "base/digest.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "format/layer_index.h"

namespace dedup {

using SegmentId = uint32_t;
inline constexpr SegmentId kZeroSegment = 0;  // kZeroSegmentBytes of hole, complete, never marked
inline constexpr uint64_t kZeroSegmentBytes = 1024ull << 20;  // >= any chunk_bytes

// Piece: one chunk placed in the segment; what is fetched, verified and tracked as a whole.
struct Piece {
  uint64_t offset = 0;  // in the segment
  Chunk chunk;  // chunk.bytes bytes at offset; blob_bytes 0: only a streaming pass can bring it

  ByteRange range() const { return {offset, chunk.bytes}; }
  bool has_random_access() const { return chunk.blob_bytes != 0; }
};

enum class PieceState : uint8_t { kMissing = 0, kPresent = 1, kDead = 2 };

struct SegmentHeader {
  SegmentId id = 0;
  Digest blob;  // layer blob the pieces come from; zero for imported directories
  uint64_t blob_bytes = 0;
  uint64_t data_bytes = 0;  // size of the data file, multiple of 4096
};

class Segment {
 public:
  static std::string data_path(const std::string& directory, SegmentId id);

  // Writes table, data and state files and makes them durable, directory entry included. `states`
  // empty: all missing. A data file that is there already (a streaming pass wrote it) is only
  // resized. Any thread.
  static Result<void> create(const std::string& directory, const SegmentHeader& header,
                             std::span<const Piece> pieces, std::span<const PieceState> states);
  // Removes the three files. Any thread.
  static Result<void> remove(const std::string& directory, SegmentId id);

  // Opens an existing segment. unwatched_fd: an fd of the data file that raises no events, kept
  // from an earlier worker (borrowed; -1: none, the file is opened here, which is right only before
  // its first mark). Pieces beyond the end of a data file that is too short are missing again, on
  // disk, too.
  //   errors  kCorruption: table or state damaged.
  static Result<std::unique_ptr<Segment>> open(const std::string& directory, SegmentId id,
                                               int unwatched_fd);

  const SegmentHeader& header() const { return x_header; }
  SegmentId id() const { return x_header.id; }
  size_t piece_count() const { return x_states.size(); }
  Piece piece(size_t index) const;
  // Pieces that overlap `range`: [first, last) indexes.
  struct PieceSpan {
    size_t first = 0;
    size_t last = 0;
  };
  PieceSpan pieces_in(ByteRange range) const;

  PieceState state(size_t index) const { return x_states[index]; }
  const std::vector<PieceState>& states() const { return x_states; }
  bool complete() const { return x_missing == 0; }
  size_t missing_pieces() const { return x_missing; }
  uint64_t present_bytes() const { return x_present_bytes; }
  bool present(ByteRange range) const;

  // Reads and writes through it raise no fanotify events.
  int data_fd() const { return x_data_fd; }

  // For a kernel that takes every block of the file that is no hole for present (cachefiles door):
  // from now on write_blocks() works, and pieces that share a block are present together or not at
  // all. Before anything is fetched.
  //   unread  nothing reads the file yet: what is not present becomes holes. A kernel that reads
  //           it may have seen a block a moment ago, and would read zeros there.
  //   errors  kUnsupported: the file system has no O_DIRECT or no holes
  Result<void> write_whole_blocks(bool unread);
  bool writes_whole_blocks() const { return x_direct_fd.valid(); }
  // Writes `bytes` at `offset`, both whole blocks, from memory that is block-aligned. Until they
  // are on disk the blocks are still holes. Any thread.
  Result<void> write_blocks(uint64_t offset, std::span<const std::byte> bytes) const;
  // The pieces that share blocks with piece `index`, directly or through others: all lie in one
  // slot.
  PieceSpan run_around(size_t index) const;

  // The bytes of the piece are in the file and verified. It becomes durable with flush().
  void set_present(size_t index);
  // Found damaged. With whole blocks: all of its run.
  void set_missing(size_t index);
  void set_dead(size_t index);

  // What has changed since the last take_dirty(), to be made durable by write_states on a worker.
  struct Dirty {
    SegmentId id = 0;
    int data_fd = -1;
    int state_fd = -1;
    std::vector<std::pair<size_t, PieceState>> pieces;
  };
  bool dirty() const { return !x_dirty.empty(); }
  Dirty take_dirty();
  // fdatasync data, write the states, fdatasync them. Any thread.
  static Result<void> write_states(const Dirty& dirty);
  // Grows a data file that a fail-closed stop had cut, once the states in `dirty` are durable. Any
  // thread but the loop's: ftruncate of a marked file raises an event whatever fd it goes through
  // (6.18), and the loop has to answer it.
  static Result<void> restore_size(const Dirty& dirty, uint64_t data_bytes);

 private:
  Segment() = default;
  void change(size_t index, PieceState state);
  Result<void> punch(PieceSpan run) const;
  uint64_t piece_offset(size_t index) const;
  uint64_t piece_end(size_t index) const;

  struct Mapping;
  SegmentHeader x_header;
  std::shared_ptr<const Mapping> x_table;  // the mapped .table file
  std::vector<PieceState> x_states;
  std::vector<size_t> x_dirty;
  size_t x_missing = 0;
  uint64_t x_present_bytes = 0;
  UniqueFd x_owned_data_fd;
  int x_data_fd = -1;
  UniqueFd x_direct_fd;
  UniqueFd x_state_fd;
};

}  // namespace dedup
