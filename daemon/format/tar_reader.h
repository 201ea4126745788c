// TarReader: push parser for a tar stream. Feed it any pieces of the uncompressed layer in order;
// it calls the sink for each entry and its data. Knows ustar, pax (path, linkpath, size, uid, gid,
// mtime with nanoseconds, SCHILY.xattr.*, SCHILY.devmajor/minor, GNU.sparse.* 0.0, 0.1 and 1.0),
// GNU (long names 'L'/'K', base-256 numbers, old sparse 'S' with extension blocks). Pure: no I/O;
// one thread at a time.
//
//   source  POSIX.1-2017 pax; GNU tar manual "Tar Internals"; Go archive/tar, which containerd
//   uses, where they differ. errors  kInvalid/kCorruption naming the byte offset and entry: bad
//   checksum, bad number, pax record out of bounds,
//           sparse map out of order or past the size, truncation (finish() inside an entry), limits
//           of LayerLimits.
//   note    pax extended headers are limited to 1 MiB, GNU long names to max_path_bytes + 1. Global
//   headers ('g') are
//           checked and ignored, and times are bounded, as containerd does. Unknown types are
//           kInvalid, but for GNU volume labels, which carry nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "format/entry.h"

namespace dedup {

class TarSink {
 public:
  virtual ~TarSink() = default;
  // A new entry. For a regular file entry.size is the logical size; data follows as on_data() calls
  // in file order.
  virtual Result<void> on_entry(const Entry& entry) = 0;
  // The next file bytes [file_offset, file_offset + bytes.size()) of the regular file. Holes of
  // sparse files are never delivered: the caller treats what it was not given as zeros.
  virtual Result<void> on_data(uint64_t file_offset, std::span<const std::byte> bytes) = 0;
  // All data of the entry last announced was delivered.
  virtual Result<void> on_entry_end() = 0;
};

class TarReader {
 public:
  // sink is borrowed and outlives the reader.
  explicit TarReader(TarSink& sink, LayerLimits limits = {});
  ~TarReader();
  TarReader(TarReader&&) noexcept;

  // Takes the next bytes of the stream; any split is fine. After an error the reader must not be
  // fed again.
  Result<void> feed(std::span<const std::byte> bytes);
  // The stream ended. kCorruption when inside an entry. A missing end-of-archive mark and missing
  // padding of the last entry are accepted (as Go does).
  Result<void> finish();

 private:
  struct State;
  std::unique_ptr<State> x_state;
};

}  // namespace dedup
