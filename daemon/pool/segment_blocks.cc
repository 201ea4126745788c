// The part of Segment for kernels that take every block that is no hole for present.
#include <fcntl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "pool/files.h"
#include "pool/segment.h"

namespace dedup {

Segment::PieceSpan Segment::run_around(size_t index) const {
  const auto shares_block = [this](size_t before, size_t after) {
    return round_up(piece_end(before), kPoolBlockBytes) > piece_offset(after);
  };
  PieceSpan run{index, index + 1};
  while (run.first > 0 && shares_block(run.first - 1, run.first)) --run.first;
  while (run.last < piece_count() && shares_block(run.last - 1, run.last)) ++run.last;
  return run;
}

Result<void> Segment::write_whole_blocks(bool unread) {
  if (writes_whole_blocks()) return {};
  // The same file, whatever its name is by now.
  const std::string path = "/proc/self/fd/" + std::to_string(x_data_fd);
  auto direct = open_file(path, O_RDWR | O_DIRECT);
  if (!direct.ok()) {
    return make_error(Errc::kUnsupported, "the pool's file system has no O_DIRECT: " +
                                              std::move(direct).error().to_string());
  }
  x_direct_fd = std::move(*direct);
  TRY(actual_bytes, file_size(x_data_fd, "pool segment"));
  if (actual_bytes < x_header.data_bytes &&  // cut by a stop behind a door that fails open
      ::ftruncate(x_data_fd, static_cast<off_t>(x_header.data_bytes)) != 0) {
    return errno_error(errno, "resize segment " + std::to_string(id()));
  }
  // Readahead over a hole would leave pages that make it look like data while it is written.
  ::posix_fadvise(x_data_fd, 0, 0, POSIX_FADV_RANDOM);
  PieceSpan hole;  // a stretch of runs that are missing
  for (size_t i = 0; i < piece_count();) {
    const PieceSpan run = run_around(i);
    i = run.last;
    bool missing = false;
    for (size_t p = run.first; p < run.last; ++p) missing |= x_states[p] == PieceState::kMissing;
    if (missing) {
      set_missing(run.first);
      if (hole.last != run.first) hole.first = run.first;
      hole.last = run.last;
    }
    const bool ends = hole.last > hole.first && (!missing || i == piece_count());
    if (ends && unread) TRY(punch(hole));
    if (ends) hole = {};
  }
  return {};
}

Result<void> Segment::punch(PieceSpan run) const {
  const uint64_t begin = round_down(piece_offset(run.first), kPoolBlockBytes);
  const uint64_t end = round_up(piece_end(run.last - 1), kPoolBlockBytes);
  if (::fallocate(x_data_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(begin),
                  static_cast<off_t>(end - begin)) == 0) {
    return {};
  }
  Error error = errno_error(errno, "punch a hole in segment " + std::to_string(id()));
  if (error.sys_errno == EOPNOTSUPP) error.code = Errc::kUnsupported;
  return error;
}

Result<void> Segment::write_blocks(uint64_t offset, std::span<const std::byte> bytes) const {
  return write_exactly(x_direct_fd.get(), bytes, offset, "pool segment");
}

}  // namespace dedup
