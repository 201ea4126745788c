// decode_layer_index on any bytes behind a digest that fits: what it accepts can be walked, written
// and read again. Input that starts with 'p' is a list of {offset u16, byte} patches of a good
// file; else it is the file without its digest.
#include <algorithm>
#include <cstdlib>

#include "format/layer_builder.h"
#include "format/layer_index_file.h"

namespace {

using namespace dedup;

void require(bool condition) {
  if (!condition) std::abort();
}

Bytes sample() {
  LayerBuilder builder(4096);
  const auto add = [&builder](EntryType type, const char* path, const char* link = "") {
    Entry entry;
    entry.type = type;
    entry.path = path;
    entry.link_target = link;
    if (type == EntryType::kRegular) entry.size = 10'000;
    if (type == EntryType::kDirectory) entry.xattrs = {{"user.a", "value"}};
    require(builder.add(std::move(entry)).ok());
  };
  add(EntryType::kDirectory, "d/e");
  add(EntryType::kSymlink, "d/s", "target");
  add(EntryType::kCharDevice, "c");
  add(EntryType::kRegular, "d/e/f");
  const std::vector<Chunk> chunks = {{1, 100, 0, 96, Codec::kGzip, {}},
                                     {101, 100, 3, 4000, Codec::kZstd, {}}};
  for (const uint64_t offset : {0u, 4096u}) {
    Extent extent;
    extent.file_offset = offset;
    extent.bytes = 4096;
    require(builder.add_extent(extent, chunks).ok());
  }
  add(EntryType::kHardLink, "l", "d/e/f");
  Bytes file = encode_layer_index(*builder.finish(), std::vector<Slot>{{1, 4096}, {2, 8192}});
  file.erase(file.end() - 32, file.end());
  return file;
}

Bytes file_of(std::span<const std::byte> input) {
  if (input.empty() || input[0] != std::byte{'p'}) return {input.begin(), input.end()};
  static const Bytes good = sample();
  Bytes file = good;
  for (input = input.subspan(1); input.size() >= 3; input = input.subspan(3)) {
    file[load_le<uint16_t>(input) % file.size()] = input[2];
  }
  return file;
}

size_t walk(const LayerIndex& index, InodeIndex at) {
  const Inode& inode = index.inodes[at];
  size_t bytes = 0;
  for (uint32_t i = 0; i < inode.extent_count; ++i) {
    const Extent& extent = index.extents.at(inode.first_extent + i);
    require(extent.file_offset + extent.bytes <= inode.size);
    for (uint32_t c = 0; c < extent.chunk_count; ++c)
      bytes += index.chunks.at(extent.first_chunk + c).bytes;
  }
  for (const DirEntry& child : inode.children) bytes += walk(index, child.inode);
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes file = file_of(std::as_bytes(std::span(data, size)));
  const Digest digest = sha256(file);
  file.insert(file.end(), digest.bytes.begin(), digest.bytes.end());
  const auto decoded = decode_layer_index(file);
  if (!decoded.ok()) return 0;
  (void)walk(decoded->index, kRootInode);
  const auto again = decode_layer_index(encode_layer_index(decoded->index, decoded->slots));
  require(again.ok() && again->index == decoded->index && again->slots == decoded->slots);
  return 0;
}
