#include "format/layer_index_file.h"

#include <algorithm>
#include <bit>

#include "base/digest.h"

namespace dedup {
namespace {

// Layout, little-endian: magic u64, version u32, chunk_bytes u32, counts of inodes, extents,
// chunks, slots (u64 each), then the records in that order, then sha256 of all before it. Strings
// are u32 length + bytes.
constexpr uint64_t kMagic = 0x3158444E'49524C44;  // "DLRINDX1"
constexpr uint32_t kVersion = 1;
constexpr size_t kDigestBytes = 32;
// Of the smallest record of each kind.
constexpr size_t kInodeBytes = 61;
constexpr size_t kExtentBytes = 56;
constexpr size_t kChunkBytes = 65;
constexpr size_t kSlotBytes = 12;

class Writer {
 public:
  template <std::unsigned_integral T>
  void put(T value) {
    const size_t at = x_bytes.size();
    x_bytes.resize(at + sizeof(T));
    store_le(std::span(x_bytes).subspan(at), value);
  }
  void put(const Digest& digest) {
    x_bytes.insert(x_bytes.end(), digest.bytes.begin(), digest.bytes.end());
  }
  void put(std::string_view text) {
    put(static_cast<uint32_t>(text.size()));
    const auto bytes = as_bytes(text);
    x_bytes.insert(x_bytes.end(), bytes.begin(), bytes.end());
  }
  Bytes take() {
    put(sha256(x_bytes));
    return std::move(x_bytes);
  }

 private:
  Bytes x_bytes;
};

// Reads past the end give zeros and set failed(); the caller checks once per record.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : x_rest(bytes) {}

  template <std::unsigned_integral T>
  T get() {
    if (x_rest.size() < sizeof(T)) return fail(), T{};
    const T value = load_le<T>(x_rest);
    x_rest = x_rest.subspan(sizeof(T));
    return value;
  }
  Digest digest() {
    Digest value;
    if (x_rest.size() < value.bytes.size()) return fail(), value;
    std::copy_n(x_rest.begin(), value.bytes.size(), value.bytes.begin());
    x_rest = x_rest.subspan(value.bytes.size());
    return value;
  }
  std::string text() {
    const auto length = get<uint32_t>();
    if (x_rest.size() < length) return fail(), "";
    std::string value(as_text(x_rest.first(length)));
    x_rest = x_rest.subspan(length);
    return value;
  }
  // A count of records of at least `record_bytes` each, so that a lie cannot make us reserve more
  // than the file holds.
  uint64_t count(size_t record_bytes) {
    const auto value = get<uint64_t>();
    if (value > x_rest.size() / record_bytes) return fail(), 0;
    return value;
  }

  bool failed() const { return x_failed; }
  bool at_end() const { return x_rest.empty(); }

  void fail() {
    x_failed = true;
    x_rest = {};
  }

 private:
  std::span<const std::byte> x_rest;
  bool x_failed = false;
};

void put_inode(Writer& out, const Inode& inode) {
  out.put(inode.mode);
  out.put(inode.uid);
  out.put(inode.gid);
  out.put(inode.rdev_major);
  out.put(inode.rdev_minor);
  out.put(inode.link_count);
  out.put(static_cast<uint64_t>(inode.mtime_seconds));
  out.put(inode.mtime_nanoseconds);
  out.put(static_cast<uint8_t>((inode.opaque ? 1 : 0) | (inode.implicit ? 2 : 0)));
  out.put(inode.size);
  out.put(inode.symlink_target);
  out.put(static_cast<uint32_t>(inode.xattrs.size()));
  for (const Xattr& xattr : inode.xattrs) {
    out.put(xattr.name);
    out.put(xattr.value);
  }
  out.put(static_cast<uint32_t>(inode.children.size()));
  for (const DirEntry& child : inode.children) {
    out.put(child.name);
    out.put(child.inode);
  }
  out.put(inode.first_extent);
  out.put(inode.extent_count);
}

Inode get_inode(Reader& in) {
  Inode inode;
  inode.mode = in.get<uint32_t>();
  inode.uid = in.get<uint32_t>();
  inode.gid = in.get<uint32_t>();
  inode.rdev_major = in.get<uint32_t>();
  inode.rdev_minor = in.get<uint32_t>();
  inode.link_count = in.get<uint32_t>();
  inode.mtime_seconds = static_cast<int64_t>(in.get<uint64_t>());
  inode.mtime_nanoseconds = in.get<uint32_t>();
  const auto flags = in.get<uint8_t>();
  inode.opaque = (flags & 1) != 0;
  inode.implicit = (flags & 2) != 0;
  inode.size = in.get<uint64_t>();
  inode.symlink_target = in.text();
  for (auto n = in.get<uint32_t>(); n > 0 && !in.failed(); --n) {
    std::string name = in.text();
    inode.xattrs.push_back({std::move(name), in.text()});
  }
  for (auto n = in.get<uint32_t>(); n > 0 && !in.failed(); --n) {
    std::string name = in.text();
    inode.children.push_back({std::move(name), in.get<uint32_t>()});
  }
  inode.first_extent = in.get<uint32_t>();
  inode.extent_count = in.get<uint32_t>();
  return inode;
}

void put_extent(Writer& out, const Extent& extent) {
  out.put(extent.identity);
  out.put(extent.file_offset);
  out.put(extent.bytes);
  out.put(extent.first_chunk);
  out.put(extent.chunk_count);
}

void put_chunk(Writer& out, const Chunk& chunk) {
  out.put(chunk.blob_offset);
  out.put(chunk.blob_bytes);
  out.put(chunk.inner_offset);
  out.put(chunk.bytes);
  out.put(static_cast<uint8_t>(chunk.codec));
  out.put(chunk.digest);
}

Extent get_extent(Reader& in) {
  Extent extent;
  extent.identity = in.digest();
  extent.file_offset = in.get<uint64_t>();
  extent.bytes = in.get<uint64_t>();
  extent.first_chunk = in.get<uint32_t>();
  extent.chunk_count = in.get<uint32_t>();
  return extent;
}

Chunk get_chunk(Reader& in) {
  Chunk chunk;
  chunk.blob_offset = in.get<uint64_t>();
  chunk.blob_bytes = in.get<uint64_t>();
  chunk.inner_offset = in.get<uint64_t>();
  chunk.bytes = in.get<uint64_t>();
  const auto codec = in.get<uint8_t>();
  if (codec > static_cast<uint8_t>(Codec::kZstd)) in.fail();
  chunk.codec = static_cast<Codec>(std::min(codec, static_cast<uint8_t>(Codec::kZstd)));
  chunk.digest = in.digest();
  return chunk;
}

Slot get_slot(Reader& in) {
  Slot slot;
  slot.segment = in.get<uint32_t>();
  slot.offset = in.get<uint64_t>();
  return slot;
}

template <typename Record>
void get_records(Reader& in, size_t record_bytes, std::vector<Record>& records,
                 Record (*get)(Reader&)) {
  const uint64_t count = in.count(record_bytes);
  records.reserve(count);
  while (records.size() < count && !in.failed()) records.push_back(get(in));
}

Error damaged(std::string_view what) {
  return make_error(Errc::kCorruption, "layer index: " + std::string(what));
}

bool in_range(uint64_t first, uint64_t count, size_t size) {
  return first <= size && count <= size - first;
}

bool is_valid_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos &&
         name.find('\0') == name.npos;
}

Result<void> check_children(const Inode& inode, size_t inode_count) {
  if (!inode.children.empty() && !inode.is_directory()) return damaged("a file has children");
  std::string_view last;
  for (const DirEntry& child : inode.children) {
    if (child.inode >= inode_count || child.inode == kRootInode) return damaged("inode number");
    if (!is_valid_name(child.name) || child.name <= last) return damaged("file name");
    last = child.name;
  }
  return {};
}

Result<void> check_extents(const Inode& inode, const LayerIndex& index) {
  if (!in_range(inode.first_extent, inode.extent_count, index.extents.size()))
    return damaged("extent number");
  if (inode.extent_count > 0 && !inode.is_regular())
    return damaged("extents of something else than a file");
  uint64_t end = 0;
  for (const Extent& extent :
       std::span(index.extents).subspan(inode.first_extent, inode.extent_count)) {
    const auto stop = checked_add(extent.file_offset, extent.bytes);
    if (extent.file_offset < end || !stop || *stop > inode.size)
      return damaged("extents of a file");
    end = *stop;
  }
  return {};
}

// Walking down from the root meets every directory at most once: no cycles.
Result<void> check_tree(const LayerIndex& index) {
  std::vector<bool> seen(index.inodes.size());
  std::vector<InodeIndex> pending = {kRootInode};
  while (!pending.empty()) {
    const Inode& directory = index.inodes[pending.back()];
    pending.pop_back();
    for (const DirEntry& child : directory.children) {
      if (!index.inodes[child.inode].is_directory()) continue;
      if (seen[child.inode]) return damaged("a directory has two names");
      seen[child.inode] = true;
      pending.push_back(child.inode);
    }
  }
  return {};
}

// Every reference inside the index, so that its users need no checks.
Result<void> check_references(const LayerIndexFile& file) {
  const LayerIndex& index = file.index;
  if (index.inodes.empty() || !index.inodes[kRootInode].is_directory())
    return damaged("it has no root directory");
  if (!std::has_single_bit(index.chunk_bytes) || index.chunk_bytes < kPoolBlockBytes)
    return damaged("chunk size");
  for (const Inode& inode : index.inodes) {
    TRY(check_extents(inode, index));
    TRY(check_children(inode, index.inodes.size()));
  }
  TRY(check_tree(index));
  for (const Extent& extent : index.extents) {
    if (!in_range(extent.first_chunk, extent.chunk_count, index.chunks.size()))
      return damaged("chunk number");
  }
  if (!file.slots.empty() && file.slots.size() != index.extents.size())
    return damaged("slot count");
  for (const Slot& slot : file.slots) {
    if (slot.offset % kPoolBlockBytes != 0) return damaged("slot offset");
  }
  return {};
}

}  // namespace

Bytes encode_layer_index(const LayerIndex& index, std::span<const Slot> slots) {
  Writer out;
  out.put(kMagic);
  out.put(kVersion);
  out.put(index.chunk_bytes);
  out.put(static_cast<uint64_t>(index.inodes.size()));
  for (const Inode& inode : index.inodes) put_inode(out, inode);
  out.put(static_cast<uint64_t>(index.extents.size()));
  for (const Extent& extent : index.extents) put_extent(out, extent);
  out.put(static_cast<uint64_t>(index.chunks.size()));
  for (const Chunk& chunk : index.chunks) put_chunk(out, chunk);
  out.put(static_cast<uint64_t>(slots.size()));
  for (const Slot& slot : slots) {
    out.put(slot.segment);
    out.put(slot.offset);
  }
  return out.take();
}

Result<LayerIndexFile> decode_layer_index(std::span<const std::byte> file) {
  if (file.size() < kDigestBytes) return damaged("it is too short");
  const auto body = file.first(file.size() - kDigestBytes);
  const Digest digest = sha256(body);
  if (!std::equal(digest.bytes.begin(), digest.bytes.end(), file.end() - kDigestBytes))
    return damaged("digest is wrong");
  Reader in(body);
  if (in.get<uint64_t>() != kMagic) return damaged("it is not an index file");
  if (const auto version = in.get<uint32_t>(); version != kVersion) {
    return make_error(Errc::kUnsupported, "layer index has version " + std::to_string(version) +
                                              ", this program reads " + std::to_string(kVersion));
  }
  LayerIndexFile result;
  result.index.chunk_bytes = in.get<uint32_t>();
  get_records(in, kInodeBytes, result.index.inodes, get_inode);
  get_records(in, kExtentBytes, result.index.extents, get_extent);
  get_records(in, kChunkBytes, result.index.chunks, get_chunk);
  get_records(in, kSlotBytes, result.slots, get_slot);
  if (in.failed() || !in.at_end()) return damaged("its counts do not match its length");
  TRY(check_references(result));
  return result;
}

}  // namespace dedup
