#include "format/tar_reader.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "format/gnu_sparse.h"
#include "format/layer_path.h"
#include "format/pax.h"
#include "format/tar_header.h"

namespace dedup {

namespace {

constexpr uint64_t kMaxPaxBytes = 1u << 20;

uint64_t padding_of(uint64_t bytes) {
  return round_up(bytes, kTarBlockBytes) - bytes;
}

// nullopt: no file (a volume label, whose data may be skipped), or nothing known.
std::optional<EntryType> entry_type(char flag, std::string_view path) {
  switch (flag) {
    case '\0':  // before POSIX: a trailing slash was the only mark of a directory
      return path.ends_with('/') ? EntryType::kDirectory : EntryType::kRegular;
    case '0':
    case '7':
    case 'S':
      return EntryType::kRegular;
    case '1':
      return EntryType::kHardLink;
    case '2':
      return EntryType::kSymlink;
    case '3':
      return EntryType::kCharDevice;
    case '4':
      return EntryType::kBlockDevice;
    case '5':
      return EntryType::kDirectory;
    case '6':
      return EntryType::kFifo;
    default:
      return std::nullopt;
  }
}

}  // namespace

struct TarReader::State {
  enum class Step : uint8_t {
    kHeader,
    kMetadata,         // body of a pax header or GNU long name
    kSparseExtension,  // old GNU sparse: blocks of ranges behind the header
    kSparseMap,        // GNU sparse 1.0: lines of text before the data
    kData,
    kPadding,
    kEnd,
  };

  // What headers before the next entry say about it.
  struct Pending {
    PaxRecords pax;
    std::string long_name;
    std::string long_link;
    bool any = false;
  };

  State(TarSink& target, const LayerLimits& bounds) : sink(target), limits(bounds) {}

  Error error(Errc code, std::string_view what) const;
  Error error(const Error& inner) const { return error(inner.code, inner.context); }

  Result<void> feed(std::span<const std::byte> bytes);
  Result<void> advance(std::span<const std::byte>& bytes);
  bool collect_block(std::span<const std::byte>& bytes);
  void skip_padding(uint64_t bytes);

  Result<void> on_header();
  Result<void> begin_metadata(char type, uint64_t bytes, uint64_t max_bytes);
  Result<void> take_metadata(std::span<const std::byte>& bytes);
  Result<void> on_metadata();

  Result<void> begin_entry(const TarHeader& header);
  void fill_entry(const TarHeader& header, Pending& about);
  Result<void> skip_unknown(char flag, uint64_t stored);
  Result<void> begin_data(char flag, PaxSparse& sparse, PaxSparse::Kind kind);
  Result<void> begin_gnu_sparse();
  Result<void> on_sparse_extension();
  Result<void> on_sparse_map();
  Result<void> announce_sparse();
  Result<void> announce();
  Result<void> take_data(std::span<const std::byte>& bytes);
  Result<void> end_entry();
  Result<void> finish() const;

  TarSink& sink;
  LayerLimits limits;
  Step step = Step::kHeader;
  uint64_t offset = 0;  // of the next byte in the stream
  std::array<std::byte, kTarBlockBytes> block{};
  size_t block_bytes = 0;  // collected of `block`
  bool saw_zero_block = false;
  uint64_t padding_left = 0;

  Pending pending;
  char metadata_type = 0;
  Bytes metadata;
  uint64_t metadata_left = 0;

  // The entry in hand.
  Entry entry;
  uint64_t stored_left = 0;       // bytes of it still in the archive
  std::vector<ByteRange> ranges;  // of the file, which the stored bytes fill in order
  size_t range_index = 0;
  uint64_t range_done = 0;  // bytes of ranges[range_index] delivered
  SparseMapText map_text;
};

Error TarReader::State::error(Errc code, std::string_view what) const {
  std::string text = "tar at byte " + std::to_string(offset);
  if (!entry.path.empty()) text += ", entry " + printable_path(entry.path);
  return make_error(code, text + ": " + std::string(what));
}

Result<void> TarReader::State::feed(std::span<const std::byte> bytes) {
  if (bytes.size() > limits.max_uncompressed_bytes - offset) {
    return error(Errc::kNoSpace, "the layer has more than " +
                                     std::to_string(limits.max_uncompressed_bytes) +
                                     " bytes (max_uncompressed_bytes)");
  }
  while (!bytes.empty()) {
    const size_t before = bytes.size();
    TRY(advance(bytes));
    offset += before - bytes.size();
  }
  return {};
}

Result<void> TarReader::State::advance(std::span<const std::byte>& bytes) {
  switch (step) {
    case Step::kHeader:
      return collect_block(bytes) ? on_header() : Result<void>();
    case Step::kSparseExtension:
      return collect_block(bytes) ? on_sparse_extension() : Result<void>();
    case Step::kSparseMap:
      return collect_block(bytes) ? on_sparse_map() : Result<void>();
    case Step::kMetadata:
      return take_metadata(bytes);
    case Step::kData:
      return take_data(bytes);
    case Step::kPadding: {
      const uint64_t skip = std::min<uint64_t>(padding_left, bytes.size());
      bytes = bytes.subspan(skip);
      skip_padding(padding_left - skip);
      return {};
    }
    case Step::kEnd:
      bytes = {};
      return {};
  }
  return {};
}

// True once `block` holds a whole block.
bool TarReader::State::collect_block(std::span<const std::byte>& bytes) {
  const size_t take = std::min(kTarBlockBytes - block_bytes, bytes.size());
  std::copy_n(bytes.begin(), take, block.begin() + static_cast<ptrdiff_t>(block_bytes));
  bytes = bytes.subspan(take);
  block_bytes += take;
  if (block_bytes < kTarBlockBytes) return false;
  block_bytes = 0;
  return true;
}

void TarReader::State::skip_padding(uint64_t bytes) {
  padding_left = bytes;
  step = bytes == 0 ? Step::kHeader : Step::kPadding;
}

Result<void> TarReader::State::on_header() {
  if (is_zero_block(block)) {
    // Two zero blocks end the archive; what follows them is padding of the last record.
    if (saw_zero_block) step = Step::kEnd;
    saw_zero_block = true;
    return {};
  }
  if (saw_zero_block) return error(Errc::kCorruption, "an entry after a zero block");
  auto parsed = parse_tar_header(block);
  if (!parsed.ok()) return error(parsed.error());
  switch (parsed->type) {
    case 'x':
    case 'g':
      return begin_metadata(parsed->type, parsed->size, kMaxPaxBytes);
    case 'L':
    case 'K':
      return begin_metadata(parsed->type, parsed->size, limits.max_path_bytes + 1);
    default:
      return begin_entry(*parsed);
  }
}

Result<void> TarReader::State::begin_metadata(char type, uint64_t bytes, uint64_t max_bytes) {
  if (bytes > max_bytes) {
    return error(Errc::kInvalid, "an extended header has " + std::to_string(bytes) + " bytes, " +
                                     std::to_string(max_bytes) + " are allowed");
  }
  metadata_type = type;
  metadata.clear();
  metadata_left = bytes;
  step = Step::kMetadata;
  return bytes == 0 ? on_metadata() : Result<void>();
}

Result<void> TarReader::State::take_metadata(std::span<const std::byte>& bytes) {
  const auto piece = bytes.first(std::min<uint64_t>(metadata_left, bytes.size()));
  metadata.insert(metadata.end(), piece.begin(), piece.end());
  bytes = bytes.subspan(piece.size());
  metadata_left -= piece.size();
  return metadata_left == 0 ? on_metadata() : Result<void>();
}

Result<void> TarReader::State::on_metadata() {
  const std::string_view text = as_text(metadata);
  const std::string_view name = text.substr(0, text.find('\0'));
  skip_padding(padding_of(metadata.size()));
  pending.any = true;
  if (metadata_type == 'L') pending.long_name = name;
  if (metadata_type == 'K') pending.long_link = name;
  if (metadata_type == 'L' || metadata_type == 'K') return {};
  auto records = parse_pax(metadata);
  if (!records.ok()) return error(records.error());
  if (metadata_type == 'x') {
    pending.pax = std::move(*records);
  } else {
    // To Go a global header is an entry of its own, which containerd skips: nothing in it applies
    // to files, and what stood before it is lost. A layer means what containerd unpacks.
    pending = {};
  }
  return {};
}

void TarReader::State::fill_entry(const TarHeader& header, Pending& about) {
  PaxRecords& pax = about.pax;
  entry = Entry();
  entry.path = about.long_name.empty() ? pax.path.value_or(header.name) : about.long_name;
  entry.link_target =
      about.long_link.empty() ? pax.link_path.value_or(header.link_name) : about.long_link;
  entry.mode = header.mode;
  entry.uid = pax.uid.value_or(header.uid);
  entry.gid = pax.gid.value_or(header.gid);
  const PaxTime mtime = pax.mtime.value_or(PaxTime{header.mtime_seconds, 0});
  entry.mtime_seconds = mtime.seconds;
  entry.mtime_nanoseconds = mtime.nanoseconds;
  bound_mtime(entry);
  entry.rdev_major = pax.rdev_major.value_or(header.rdev_major);
  entry.rdev_minor = pax.rdev_minor.value_or(header.rdev_minor);
  entry.xattrs = std::move(pax.xattrs);
}

Result<void> TarReader::State::begin_entry(const TarHeader& header) {
  Pending about = std::exchange(pending, {});
  fill_entry(header, about);
  const uint64_t stored = about.pax.size.value_or(header.size);
  auto kind = about.pax.sparse.kind();
  if (!kind.ok()) return error(kind.error());
  const bool is_sparse = *kind != PaxSparse::Kind::kNone;
  if (is_sparse && about.pax.sparse.name) entry.path = *about.pax.sparse.name;

  const auto type = entry_type(header.type, entry.path);
  if (!type) return skip_unknown(header.type, stored);
  entry.type = *type;
  ranges.clear();
  range_index = 0;
  range_done = 0;
  if (entry.type != EntryType::kRegular) {
    // Whatever their size field says, these have no data (as in Go).
    if (is_sparse) return error(Errc::kCorruption, "only a regular file can be sparse");
    stored_left = 0;
    padding_left = 0;
    return announce();
  }
  if (stored > limits.max_uncompressed_bytes) {
    return error(Errc::kNoSpace, "its size is over max_uncompressed_bytes");
  }
  stored_left = stored;
  padding_left = padding_of(stored);
  return begin_data(header.type, about.pax.sparse, *kind);
}

// Of what is no file, only a volume label is known to be safe to leave out.
Result<void> TarReader::State::skip_unknown(char flag, uint64_t stored) {
  if (flag == 'V' && stored == 0) return {};
  return error(Errc::kInvalid,
               "unknown entry type " + std::to_string(static_cast<unsigned char>(flag)));
}

Result<void> TarReader::State::begin_data(char flag, PaxSparse& sparse, PaxSparse::Kind kind) {
  if (kind != PaxSparse::Kind::kNone) {
    entry.size = sparse.file_bytes().value_or(0);
    if (flag == 'S') return error(Errc::kCorruption, "two sparse maps");
  } else if (flag == 'S') {
    return begin_gnu_sparse();
  }
  switch (kind) {
    case PaxSparse::Kind::kMapInData:
      map_text = {};
      step = Step::kSparseMap;
      return {};
    case PaxSparse::Kind::kRanges:
      ranges = std::move(sparse.ranges);
      return announce_sparse();
    case PaxSparse::Kind::kNone:
      entry.size = stored_left;
      ranges.push_back({0, stored_left});
      return announce();
  }
  return {};
}

Result<void> TarReader::State::begin_gnu_sparse() {
  auto sparse = parse_gnu_sparse_header(block, entry.size);
  if (!sparse.ok()) return error(sparse.error());
  ranges = std::move(sparse->data);
  if (!sparse->continued) return announce_sparse();
  step = Step::kSparseExtension;
  return {};
}

Result<void> TarReader::State::on_sparse_extension() {
  auto sparse = parse_gnu_sparse_extension(block);
  if (!sparse.ok()) return error(sparse.error());
  ranges.insert(ranges.end(), sparse->data.begin(), sparse->data.end());
  if (ranges.size() > kMaxSparseRanges) {
    return error(Errc::kInvalid, "sparse map has too many ranges");
  }
  return sparse->continued ? Result<void>() : announce_sparse();
}

Result<void> TarReader::State::on_sparse_map() {
  if (stored_left < kTarBlockBytes) {
    return error(Errc::kCorruption, "sparse map is longer than the stored data");
  }
  stored_left -= kTarBlockBytes;
  auto complete = map_text.take_block(block);
  if (!complete.ok()) return error(complete.error());
  if (!*complete) return {};
  ranges = map_text.take_ranges();
  return announce_sparse();
}

Result<void> TarReader::State::announce_sparse() {
  if (auto checked = check_sparse_map(ranges, entry.size, stored_left); !checked.ok()) {
    return error(checked.error());
  }
  return announce();
}

Result<void> TarReader::State::announce() {
  TRY(sink.on_entry(entry));
  step = Step::kData;
  return stored_left == 0 ? end_entry() : Result<void>();
}

Result<void> TarReader::State::take_data(std::span<const std::byte>& bytes) {
  while (range_done == ranges[range_index].length) {  // stored_left > 0: some range has room
    ++range_index;
    range_done = 0;
  }
  const ByteRange range = ranges[range_index];
  const auto piece = bytes.first(std::min<uint64_t>(range.length - range_done, bytes.size()));
  TRY(sink.on_data(range.offset + range_done, piece));
  bytes = bytes.subspan(piece.size());
  range_done += piece.size();
  stored_left -= piece.size();
  return stored_left == 0 ? end_entry() : Result<void>();
}

Result<void> TarReader::State::end_entry() {
  TRY(sink.on_entry_end());
  entry = Entry();
  skip_padding(padding_left);
  return {};
}

Result<void> TarReader::State::finish() const {
  // The padding of the last entry may be missing (Go takes that too).
  const bool between =
      step == Step::kEnd || step == Step::kPadding || (step == Step::kHeader && block_bytes == 0);
  if (!between || pending.any) return error(Errc::kCorruption, "the archive ends inside an entry");
  return {};
}

TarReader::TarReader(TarSink& sink, LayerLimits limits)
    : x_state(std::make_unique<State>(sink, limits)) {}
TarReader::~TarReader() = default;
TarReader::TarReader(TarReader&&) noexcept = default;

Result<void> TarReader::feed(std::span<const std::byte> bytes) {
  return x_state->feed(bytes);
}
Result<void> TarReader::finish() {
  return x_state->finish();
}

}  // namespace dedup
