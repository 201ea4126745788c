#include <algorithm>
#include <optional>
#include <string>

#include "format/estargz.h"
#include "format/estargz_chunks.h"
#include "format/estargz_json.h"
#include "format/layer_builder.h"
#include "format/rfc3339.h"

namespace dedup {
namespace {

constexpr std::string_view kTocName = "stargz.index.json";
constexpr std::string_view kPrefetchLandmark = ".prefetch.landmark";
constexpr std::string_view kNoPrefetchLandmark = ".no.prefetch.landmark";
constexpr size_t kShownNameBytes = 256;   // of a name in an error
constexpr uint64_t kTarModeBits = 07777;  // older writers also leave file type bits in "mode"

std::optional<EntryType> entry_type(std::string_view type) {
  if (type == "reg") return EntryType::kRegular;
  if (type == "dir") return EntryType::kDirectory;
  if (type == "symlink") return EntryType::kSymlink;
  if (type == "hardlink") return EntryType::kHardLink;
  if (type == "char") return EntryType::kCharDevice;
  if (type == "block") return EntryType::kBlockDevice;
  if (type == "fifo") return EntryType::kFifo;
  return std::nullopt;
}

// A name in the layer's root without its "./" or "/", for comparison with the names eStargz
// reserves.
std::string_view without_root(std::string_view name) {
  while (name.starts_with("./") || name.starts_with("/"))
    name.remove_prefix(name[0] == '/' ? 1 : 2);
  return name;
}

std::string place(uint64_t entry_number, std::string_view name) {
  return "eStargz TOC entry " + std::to_string(entry_number) + ": " +
         std::string(name.substr(0, kShownNameBytes));
}

class TocReader {
 public:
  TocReader(const EstargzFooter& footer, uint32_t chunk_bytes, const LayerLimits& limits)
      : x_chunk_bytes(chunk_bytes),
        x_limits(limits),
        x_builder(chunk_bytes, limits),
        x_places(footer.toc_offset) {}

  Result<void> take(TocEntry& entry);
  Result<EstargzLayer> finish();

 private:
  Result<void> take_file_or_other(TocEntry& entry, uint64_t number);
  Result<void> take_landmark(const TocEntry& entry, std::string_view name);
  Result<void> finish_file();

  uint32_t x_chunk_bytes;
  LayerLimits x_limits;
  LayerBuilder x_builder;
  ChunkPlaces x_places;
  std::optional<ChunkedFile> x_file;  // the regular file last added
  std::string x_file_name;
  uint64_t x_file_number = 0;  // of its entry
  uint64_t x_entry_count = 0;
  uint64_t x_prefetch_end = 0;
  bool x_no_prefetch = false;
};

Result<void> TocReader::take(TocEntry& entry) {
  const uint64_t number = x_entry_count++;
  if (x_entry_count > x_limits.max_entries) {
    return make_error(Errc::kNoSpace, "eStargz TOC: more than " +
                                          std::to_string(x_limits.max_entries) + " entries");
  }
  if (entry.type == "chunk") {
    if (!x_file)
      return make_error(Errc::kInvalid, "chunk without a file before it")
          .with(place(number, entry.name));
    auto added = x_file->add(entry, x_limits, x_places);
    return added.ok() ? Result<void>{} : std::move(added).error().with(place(number, x_file_name));
  }
  TRY(finish_file());
  const std::string name = entry.name.substr(0, kShownNameBytes);
  auto taken = take_file_or_other(entry, number);
  return taken.ok() ? Result<void>{} : std::move(taken).error().with(place(number, name));
}

Result<void> TocReader::take_file_or_other(TocEntry& entry, uint64_t number) {
  const auto type = entry_type(entry.type);
  if (!type) return make_error(Errc::kInvalid, "unknown type \"" + entry.type.substr(0, 32) + "\"");
  const std::string_view in_root = without_root(entry.name);
  if (*type == EntryType::kRegular) {
    if (in_root == kTocName) return {};
    if (in_root == kPrefetchLandmark || in_root == kNoPrefetchLandmark)
      return take_landmark(entry, in_root);
    TRY(file, ChunkedFile::start(entry, x_limits, x_places));
    x_file = std::move(file);
    x_file_name = entry.name.substr(0, kShownNameBytes);
    x_file_number = number;
  }
  TRY(mtime, parse_rfc3339(entry.modtime));
  Entry made;
  made.type = *type;
  made.path = std::move(entry.name);
  made.link_target = std::move(entry.link_name);
  made.mode = static_cast<uint32_t>(entry.mode & kTarModeBits);
  made.uid = entry.uid;
  made.gid = entry.gid;
  made.size = *type == EntryType::kRegular ? entry.size : 0;
  made.mtime_seconds = mtime.seconds;
  made.mtime_nanoseconds = mtime.nanoseconds;
  bound_mtime(made);
  made.rdev_major = entry.dev_major;
  made.rdev_minor = entry.dev_minor;
  made.xattrs = std::move(entry.xattrs);
  return x_builder.add(std::move(made));
}

Result<void> TocReader::take_landmark(const TocEntry& entry, std::string_view name) {
  TRY(x_places.add(entry, entry.size));
  if (name == kNoPrefetchLandmark) {
    x_no_prefetch = true;
  } else {
    x_prefetch_end = *entry.offset;
  }
  return {};
}

Result<void> TocReader::finish_file() {
  if (!x_file) return {};
  auto done = x_file->finish(x_builder, x_chunk_bytes);
  x_file.reset();
  return done.ok() ? Result<void>{}
                   : std::move(done).error().with(place(x_file_number, x_file_name));
}

// The pool gives every extent of one identity the same place: a second length under it would reach
// into its neighbours.
Result<void> check_identity_sizes(const LayerIndex& index) {
  std::vector<uint32_t> order(index.extents.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return index.extents[a].identity < index.extents[b].identity;
  });
  for (size_t i = 1; i < order.size(); ++i) {
    const Extent& a = index.extents[order[i - 1]];
    const Extent& b = index.extents[order[i]];
    if (a.identity == b.identity && a.bytes != b.bytes) {
      return make_error(Errc::kCorruption,
                        "digest " + a.identity.to_string() + " stands for two sizes");
    }
  }
  return {};
}

Result<EstargzLayer> TocReader::finish() {
  TRY(finish_file());
  EstargzLayer layer;
  TRY(index, x_builder.finish());
  layer.index = std::move(index);
  auto checked = x_places.resolve(layer.index.chunks, x_limits);
  if (checked.ok()) checked = check_identity_sizes(layer.index);
  if (!checked.ok()) return std::move(checked).error().with("eStargz TOC");
  if (!x_no_prefetch) layer.prefetch = {0, x_prefetch_end};
  return layer;
}

}  // namespace

Result<EstargzLayer> parse_estargz_toc(std::span<const std::byte> toc_json,
                                       const EstargzFooter& footer, uint32_t chunk_bytes,
                                       const LayerLimits& limits) {
  if (toc_json.size() > limits.max_toc_bytes)
    return make_error(Errc::kNoSpace, "eStargz TOC is over the size limit");
  TocReader reader(footer, chunk_bytes, limits);
  TRY(read_toc_json(toc_json, [&](TocEntry& entry) { return reader.take(entry); }));
  return reader.finish();
}

}  // namespace dedup
