// One to four layers built from the input, merged both ways, written as EROFS twice and read back
// from memory by a reader that shares no code with the writer.
#include <cstdlib>
#include <cstring>
#include <map>

#include "base/bytes.h"
#include "format/erofs_writer.h"
#include "format/layer_builder.h"

namespace {

using namespace dedup;

constexpr uint64_t kSegmentBytes = 64 << 20;

void require(bool condition) {
  if (!condition) std::abort();
}

// Hands out the input piece by piece; zeros when it is used up.
class Input {
 public:
  explicit Input(std::span<const uint8_t> bytes) : x_rest(bytes) {}
  bool empty() const { return x_rest.empty(); }
  uint8_t byte() {
    if (x_rest.empty()) return 0;
    const uint8_t value = x_rest[0];
    x_rest = x_rest.subspan(1);
    return value;
  }
  uint64_t word(int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value = value << 8 | byte();
    return value;
  }
  // Few different texts, so that entries meet; some long, some with odd bytes.
  std::string name() {
    static constexpr const char* kNames[] = {
        "a",    "b",         "c", ".wh.a", ".wh.b", ".wh..wh..opq", "!", "..x",
        "\xff", "dir\nname", ".", "..",    "d"};
    const uint8_t kind = byte();
    if (kind < 200) return kNames[kind % std::size(kNames)];
    return std::string(kind, static_cast<char>(byte()));
  }
  std::string path() {
    std::string text = name();
    for (int depth = byte() % 5; depth > 0; --depth) text += "/" + name();
    return text;
  }

 private:
  std::span<const uint8_t> x_rest;
};

Entry make_entry(Input& in) {
  Entry entry;
  entry.type = static_cast<EntryType>(in.byte() % 7);
  entry.path = in.path();
  entry.mode = static_cast<uint32_t>(in.word(2)) & 07777;
  entry.uid = in.byte();
  entry.mtime_seconds = static_cast<int64_t>(in.word(8));
  if (entry.type == EntryType::kHardLink || entry.type == EntryType::kSymlink)
    entry.link_target = in.path();
  if (entry.type == EntryType::kRegular) entry.size = in.word(2);
  if (entry.type == EntryType::kCharDevice) entry.rdev_minor = in.byte();
  for (int count = in.byte() % 4; count > 0; --count) {
    const uint8_t kind = in.byte();
    const char* prefix = kind % 3 == 0 ? "user." : kind % 3 == 1 ? "trusted.overlay." : "security.";
    entry.xattrs.push_back(
        {prefix + in.name(), std::string(in.word(2) % 5000, static_cast<char>(kind))});
  }
  return entry;
}

// Extents of a file, some missing: holes.
void add_extents(Input& in, LayerBuilder& builder, uint64_t bytes, uint32_t chunk_bytes) {
  for (uint64_t offset = 0; offset < bytes; offset += chunk_bytes) {
    if (in.byte() % 4 == 0) continue;
    Extent extent;
    extent.file_offset = offset;
    extent.bytes = std::min<uint64_t>(chunk_bytes, bytes - offset);
    if (!builder.add_extent(extent, {}).ok()) return;
  }
}

PlacedLayer make_layer(Input& in) {
  const uint32_t chunk_bytes = 4096u << in.byte() % 4;
  LayerBuilder builder(chunk_bytes);
  for (int count = in.byte() % 64; count > 0 && !in.empty(); --count) {
    Entry entry = make_entry(in);
    const uint64_t bytes = entry.size;
    if (builder.add(std::move(entry)).ok() && bytes != 0)
      add_extents(in, builder, bytes, chunk_bytes);
  }
  auto index = builder.finish();
  if (!index.ok()) index = LayerBuilder(chunk_bytes).finish();
  require(index.ok());
  auto slots = std::make_shared<std::vector<Slot>>();
  for (size_t i = 0; i < index->extents.size(); ++i) {
    slots->push_back({1 + in.byte() % 3u, in.word(2) % (kSegmentBytes / 8192) * 4096});
  }
  return {std::make_shared<const LayerIndex>(std::move(index).value()), slots};
}

template <typename T>
T load(const Bytes& image, uint64_t offset) {
  require(offset <= image.size() && sizeof(T) <= image.size() - offset);
  T value;
  std::memcpy(&value, image.data() + offset, sizeof(T));
  return value;
}

// Reads the directory at `nid` as the format says it lies, calling visit(name, nid of the entry).
template <typename Visit>
void read_directory(const Bytes& image, uint64_t inode, const Visit& visit) {
  const unsigned layout = load<uint16_t>(image, inode) >> 1 & 7;
  const unsigned icount = load<uint16_t>(image, inode + 2);
  const auto size = load<uint64_t>(image, inode + 8);
  const uint64_t blocks = uint64_t{load<uint32_t>(image, inode + 16)} * 4096;
  const uint64_t tail = inode + 64 + (icount == 0 ? 0 : 12 + (icount - 1) * 4);
  require(layout == 0 || layout == 2);
  for (uint64_t at = 0; at < size; at += 4096) {
    const uint64_t bytes = std::min<uint64_t>(4096, size - at);
    const bool in_tail = layout == 2 && at + 4096 > size;
    const uint64_t block = in_tail ? tail : blocks + at;
    if (in_tail) require(tail / 4096 == (tail + bytes - 1) / 4096 && inode / 4096 == tail / 4096);
    const unsigned count = load<uint16_t>(image, block + 8) / 12;
    for (unsigned i = 0; i < count; ++i) {
      const unsigned begin = load<uint16_t>(image, block + i * 12 + 8);
      uint64_t end = i + 1 < count ? load<uint16_t>(image, block + (i + 1) * 12 + 8) : bytes;
      require(begin < end && end <= bytes && block + end <= image.size());
      std::string name(reinterpret_cast<const char*>(image.data() + block + begin), end - begin);
      if (i + 1 == count) name.resize(std::strlen(name.c_str()));
      visit(name, load<uint64_t>(image, block + i * 12));
    }
  }
}

void check_image(const ImageTree& tree, const ErofsImage& result, const Bytes& image) {
  require(image.size() % 4096 == 0 && image.size() == result.bytes);
  require(load<uint32_t>(image, 1024) == 0xE0F5E1E2);
  require(load<uint16_t>(image, 1024 + 14) == result.node_nid.at(0));
  require(uint64_t{load<uint32_t>(image, 1024 + 36)} * 4096 == image.size());
  require(load<uint16_t>(image, 1024 + 86) == result.devices.size());
  const uint64_t meta = uint64_t{load<uint32_t>(image, 1024 + 40)} * 4096;
  for (uint32_t node = 0; node < tree.nodes.size(); ++node) {
    const Inode& inode = *tree.nodes[node].inode;
    const uint64_t at = meta + uint64_t{result.node_nid[node]} * 32;
    require(result.node_nid[node] != 0 && at / 4096 == (at + 63) / 4096);
    require(load<uint16_t>(image, at + 4) == inode.mode);
    if (inode.is_regular()) require(load<uint64_t>(image, at + 8) == inode.size);
    if (!inode.is_directory()) continue;
    std::string previous;
    std::map<std::string, uint64_t> found;
    read_directory(image, at, [&](const std::string& name, uint64_t nid) {
      require(name > previous);
      previous = name;
      found[name] = nid;
    });
    require(found.size() == tree.nodes[node].children.size() + 2 &&
            found["."] == result.node_nid[node]);
    for (const TreeChild& child : tree.nodes[node].children) {
      require(found[std::string(child.name)] == result.node_nid[child.node]);
    }
  }
}

Result<ErofsImage> write(const ImageTree& tree, Bytes& out) {
  ErofsOptions options;
  options.segment_bytes = [](uint32_t) { return kSegmentBytes; };
  return write_erofs(tree, options, [&](std::span<const std::byte> piece) -> Result<void> {
    out.insert(out.end(), piece.begin(), piece.end());
    return {};
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input in(std::span(data, size));
  std::vector<PlacedLayer> layers;
  for (int count = 1 + in.byte() % 4; count > 0; --count) layers.push_back(make_layer(in));
  for (const Whiteouts whiteouts : {Whiteouts::kApply, Whiteouts::kKeep}) {
    const auto tree = merge_layers(layers, whiteouts);
    require(tree.ok());
    Bytes first;
    Bytes second;
    const auto image = write(*tree, first);
    require(image.ok() == write(*tree, second).ok() && first == second);
    if (image.ok()) check_image(*tree, *image, first);
  }
  return 0;
}
