#include "pool/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "base/bytes.h"
#include "pool/files.h"

namespace dedup {
namespace {

constexpr uint64_t kTableMagic = 0x31424154'4C4F4F50;  // "POOLTAB1"
constexpr size_t kRecordBytes = 80;                    // header and piece records alike

// Header: magic u64, id u32, reserved u32, piece count u64, data bytes u64, blob bytes u64, blob
// digest 32, reserved u64.
void put_header(std::span<std::byte> out, const SegmentHeader& header, uint64_t piece_count) {
  store_le<uint64_t>(out, kTableMagic);
  store_le<uint32_t>(out.subspan(8), header.id);
  store_le<uint64_t>(out.subspan(16), piece_count);
  store_le<uint64_t>(out.subspan(24), header.data_bytes);
  store_le<uint64_t>(out.subspan(32), header.blob_bytes);
  std::copy(header.blob.bytes.begin(), header.blob.bytes.end(), out.begin() + 40);
}

// Piece: offset u64, bytes u64, blob offset u64, blob bytes u64, inner offset (56 bits) and codec
// (8 bits) u64, digest 32, 0 u64.
void put_piece(std::span<std::byte> out, const Piece& piece) {
  store_le<uint64_t>(out, piece.offset);
  store_le<uint64_t>(out.subspan(8), piece.chunk.bytes);
  store_le<uint64_t>(out.subspan(16), piece.chunk.blob_offset);
  store_le<uint64_t>(out.subspan(24), piece.chunk.blob_bytes);
  store_le<uint64_t>(out.subspan(32),
                     piece.chunk.inner_offset | static_cast<uint64_t>(piece.chunk.codec) << 56);
  std::copy(piece.chunk.digest.bytes.begin(), piece.chunk.digest.bytes.end(), out.begin() + 40);
}

std::string path_of(const std::string& directory, SegmentId id, const char* suffix) {
  char name[32];
  std::snprintf(name, sizeof(name), "/%08u.%s", id, suffix);
  return directory + name;
}

Bytes encode_table(const SegmentHeader& header, std::span<const Piece> pieces) {
  Bytes table((pieces.size() + 1) * kRecordBytes);
  const std::span<std::byte> out(table);
  put_header(out, header, pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i)
    put_piece(out.subspan((i + 1) * kRecordBytes, kRecordBytes), pieces[i]);
  const Digest digest = sha256(table);
  table.insert(table.end(), digest.bytes.begin(), digest.bytes.end());
  return table;
}

}  // namespace

// Mapped rather than read: the tables of hundreds of layers cost no anonymous memory.
struct Segment::Mapping {
  std::span<const std::byte> bytes;
  ~Mapping() { ::munmap(const_cast<std::byte*>(bytes.data()), bytes.size()); }
  std::span<const std::byte> record(size_t index) const {
    return bytes.subspan((index + 1) * kRecordBytes, kRecordBytes);
  }
};

std::string Segment::data_path(const std::string& directory, SegmentId id) {
  return path_of(directory, id, "data");
}

Result<void> Segment::create(const std::string& directory, const SegmentHeader& header,
                             std::span<const Piece> pieces, std::span<const PieceState> states) {
  TRY(data, open_file(data_path(directory, header.id), O_RDWR | O_CREAT));
  if (::ftruncate(data.get(), static_cast<off_t>(header.data_bytes)) != 0) {
    return errno_error(errno, "resize " + data_path(directory, header.id));
  }
  TRY(sync_file(data.get(), data_path(directory, header.id)));
  Bytes state_bytes(pieces.size());
  std::transform(states.begin(), states.end(), state_bytes.begin(),
                 [](PieceState s) { return static_cast<std::byte>(s); });
  TRY(write_file_durably(path_of(directory, header.id, "state"), state_bytes));
  return write_file_durably(path_of(directory, header.id, "table"), encode_table(header, pieces));
}

Result<void> Segment::remove(const std::string& directory, SegmentId id) {
  for (const char* suffix : {"table", "state", "data"}) {
    const std::string path = path_of(directory, id, suffix);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error(errno, "remove " + path);
  }
  return {};
}

Result<std::unique_ptr<Segment>> Segment::open(const std::string& directory, SegmentId id,
                                               int unwatched_fd) {
  std::unique_ptr<Segment> segment(new Segment);
  const std::string table_path = path_of(directory, id, "table");
  TRY(table, open_file(table_path, O_RDONLY));
  TRY(table_bytes, file_size(table.get(), table_path));
  if (table_bytes < kRecordBytes + 32)
    return make_error(Errc::kCorruption, table_path + " is too short");
  void* mapped = ::mmap(nullptr, table_bytes, PROT_READ, MAP_SHARED, table.get(), 0);
  if (mapped == MAP_FAILED) return errno_error(errno, "map " + table_path);
  auto mapping = std::make_shared<Mapping>();
  mapping->bytes = {static_cast<const std::byte*>(mapped), table_bytes};

  const auto body = mapping->bytes.first(table_bytes - 32);
  const Digest digest = sha256(body);
  const auto count = load_le<uint64_t>(body.subspan(16));
  if (!std::equal(digest.bytes.begin(), digest.bytes.end(), mapping->bytes.end() - 32) ||
      load_le<uint64_t>(body) != kTableMagic || load_le<uint32_t>(body.subspan(8)) != id ||
      body.size() / kRecordBytes != count + 1 || body.size() % kRecordBytes != 0) {
    return make_error(Errc::kCorruption, table_path + " is damaged");
  }
  segment->x_header = {
      id, {}, load_le<uint64_t>(body.subspan(32)), load_le<uint64_t>(body.subspan(24))};
  std::copy_n(body.begin() + 40, 32, segment->x_header.blob.bytes.begin());
  segment->x_table = std::move(mapping);

  const std::string state_path = path_of(directory, id, "state");
  TRY(state_fd, open_file(state_path, O_RDWR));
  segment->x_state_fd = std::move(state_fd);
  segment->x_states.resize(count);
  TRY(read_exactly(segment->x_state_fd.get(), std::as_writable_bytes(std::span(segment->x_states)),
                   0, state_path));

  if (unwatched_fd >= 0) {
    // Of the same open file: its owner closes the other one when no mount needs it any more.
    segment->x_owned_data_fd = UniqueFd(::fcntl(unwatched_fd, F_DUPFD_CLOEXEC, 0));
    segment->x_data_fd = segment->x_owned_data_fd.get();
    if (segment->x_data_fd < 0) return errno_error(errno, data_path(directory, id));
  } else {
    TRY(data_fd, open_file(data_path(directory, id), O_RDWR));
    segment->x_owned_data_fd = std::move(data_fd);
    segment->x_data_fd = segment->x_owned_data_fd.get();
  }
  TRY(actual_bytes, file_size(segment->x_data_fd, data_path(directory, id)));
  for (size_t i = 0; i < count; ++i) {
    PieceState& state = segment->x_states[i];
    if (state > PieceState::kDead) return make_error(Errc::kCorruption, state_path + " is damaged");
    if (state == PieceState::kPresent && segment->piece_end(i) > actual_bytes) {
      state = PieceState::kMissing;
      segment->x_dirty.push_back(i);
    }
    if (state == PieceState::kMissing) ++segment->x_missing;
    if (state == PieceState::kPresent)
      segment->x_present_bytes += segment->piece_end(i) - segment->piece_offset(i);
  }
  // Before anything is written: a piece fetched beyond the cut makes the file long again, and after
  // a death the states on disk would call the hole before it data.
  if (segment->dirty()) TRY(write_states(segment->take_dirty()));
  return segment;
}

uint64_t Segment::piece_offset(size_t index) const {
  return load_le<uint64_t>(x_table->record(index));
}

uint64_t Segment::piece_end(size_t index) const {
  return piece_offset(index) + load_le<uint64_t>(x_table->record(index).subspan(8));
}

Piece Segment::piece(size_t index) const {
  const auto record = x_table->record(index);
  Piece piece;
  piece.offset = load_le<uint64_t>(record);
  piece.chunk.bytes = load_le<uint64_t>(record.subspan(8));
  piece.chunk.blob_offset = load_le<uint64_t>(record.subspan(16));
  piece.chunk.blob_bytes = load_le<uint64_t>(record.subspan(24));
  const auto packed = load_le<uint64_t>(record.subspan(32));
  piece.chunk.inner_offset = packed & ((1ull << 56) - 1);
  piece.chunk.codec = static_cast<Codec>(packed >> 56);
  std::copy_n(record.begin() + 40, 32, piece.chunk.digest.bytes.begin());
  return piece;
}

Segment::PieceSpan Segment::pieces_in(ByteRange range) const {
  // First piece that ends after range.offset: pieces are sorted and do not overlap.
  size_t low = 0;
  size_t high = piece_count();
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (piece_end(middle) <= range.offset)
      low = middle + 1;
    else
      high = middle;
  }
  PieceSpan span{low, low};
  while (span.last < piece_count() && piece_offset(span.last) < range.end()) ++span.last;
  return span;
}

bool Segment::present(ByteRange range) const {
  if (complete()) return true;
  const PieceSpan span = pieces_in(range);
  return std::all_of(x_states.begin() + static_cast<ptrdiff_t>(span.first),
                     x_states.begin() + static_cast<ptrdiff_t>(span.last),
                     [](PieceState state) { return state != PieceState::kMissing; });
}

Result<void> Segment::restore_size(const Dirty& dirty, uint64_t data_bytes) {
  TRY(actual_bytes, file_size(dirty.data_fd, "segment data"));
  if (actual_bytes >= data_bytes) return {};
  // The states on disk may still say present for what was cut off; they must not outlive the cut.
  TRY(write_states(dirty));
  if (::ftruncate(dirty.data_fd, static_cast<off_t>(data_bytes)) != 0) {
    return errno_error(errno, "resize segment");
  }
  return {};
}

void Segment::change(size_t index, PieceState state) {
  const PieceState before = std::exchange(x_states[index], state);
  if (before == state) return;
  const uint64_t bytes = piece_end(index) - piece_offset(index);
  if (before == PieceState::kMissing) --x_missing;
  if (state == PieceState::kMissing) ++x_missing;
  if (before == PieceState::kPresent) x_present_bytes -= bytes;
  if (state == PieceState::kPresent) x_present_bytes += bytes;
  x_dirty.push_back(index);
}

void Segment::set_present(size_t index) {
  change(index, PieceState::kPresent);
}
void Segment::set_missing(size_t index) {
  const PieceSpan run = writes_whole_blocks() ? run_around(index) : PieceSpan{index, index + 1};
  for (size_t i = run.first; i < run.last; ++i) {
    if (x_states[i] == PieceState::kPresent) change(i, PieceState::kMissing);
  }
}
void Segment::set_dead(size_t index) {
  change(index, PieceState::kDead);
}

Segment::Dirty Segment::take_dirty() {
  Dirty dirty{id(), x_data_fd, x_state_fd.get(), {}};
  for (const size_t index : std::exchange(x_dirty, {}))
    dirty.pieces.emplace_back(index, x_states[index]);
  return dirty;
}

Result<void> Segment::write_states(const Dirty& dirty) {
  TRY(sync_file(dirty.data_fd, "segment data"));
  for (const auto& [index, state] : dirty.pieces) {
    const auto byte = static_cast<std::byte>(state);
    TRY(write_exactly(dirty.state_fd, {&byte, 1}, index, "segment state"));
  }
  return sync_file(dirty.state_fd, "segment state");
}

}  // namespace dedup
