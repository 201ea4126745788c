#include "format/erofs_xattr.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "format/erofs_format.h"

namespace dedup::erofs {
namespace {

constexpr uint64_t kMaxSharedPerInode = 255;        // u8 h_shared_count
constexpr uint64_t kMaxBodyBytes = 12 + 4 * 65534;  // u16 i_xattr_icount
constexpr uint64_t kMaxInlineBytes = 32
                                     << 10;  // beyond this an inode's values go to the shared area
constexpr std::string_view kOpaqueName = "trusted.overlay.opaque";

struct Prefix {
  std::string_view text;
  uint8_t index = 0;
  bool whole_name = false;
};
constexpr Prefix kPrefixes[] = {
    {"user.", 1, false},
    {"system.posix_acl_access", 2, true},
    {"system.posix_acl_default", 3, true},
    {"trusted.", 4, false},
    {"security.", 6, false},
};

std::optional<Prefix> prefix_of(std::string_view name) {
  for (const Prefix& prefix : kPrefixes) {
    if (prefix.whole_name ? name == prefix.text
                          : name.starts_with(prefix.text) && name.size() > prefix.text.size()) {
      return prefix;
    }
  }
  return std::nullopt;
}

uint64_t entry_bytes(std::string_view name, std::string_view value) {
  return round_up(sizeof(XattrEntry) + name.size() + value.size(), 4);
}

template <typename T>
void append_struct(Bytes& out, const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void append_entry(Bytes& out, uint8_t prefix, std::string_view name, std::string_view value) {
  append_struct(out, XattrEntry{static_cast<uint8_t>(name.size()), prefix,
                                static_cast<uint16_t>(value.size())});
  for (const std::string_view text : {name, value}) {
    const auto bytes = as_bytes(text);
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  out.resize(round_up(
      out.size(),
      4));  // entries start at multiples of 4 from the body's start; both callers keep that
}

struct PairKey {
  uint8_t prefix = 0;
  std::string_view name;
  std::string_view value;
  bool operator==(const PairKey&) const = default;
};

struct PairHash {
  size_t operator()(const PairKey& key) const {
    const std::hash<std::string_view> hash;
    return (hash(key.name) * 31 + key.prefix) * 0x9E3779B97F4A7C15u + hash(key.value);
  }
};

}  // namespace

Result<XattrTable> XattrTable::build(const ImageTree& tree) {
  XattrTable table;
  TRY(table.collect(tree));
  table.count_pairs();
  TRY(table.place(tree));
  return table;
}

Result<void> XattrTable::collect(const ImageTree& tree) {
  x_first.reserve(tree.nodes.size() + 1);
  for (uint32_t node = 0; node < tree.nodes.size(); ++node) {
    x_first.push_back(static_cast<uint32_t>(x_attributes.size()));
    const bool opaque = tree.nodes[node].opaque;
    for (const Xattr& xattr : tree.nodes[node].inode->xattrs) {
      if (opaque && xattr.name == kOpaqueName) continue;
      TRY(add(tree, node, xattr.name, xattr.value));
    }
    if (opaque) TRY(add(tree, node, kOpaqueName, "y"));
  }
  x_first.push_back(static_cast<uint32_t>(x_attributes.size()));
  return {};
}

Result<void> XattrTable::add(const ImageTree& tree, uint32_t node, std::string_view full_name,
                             std::string_view value) {
  const auto prefix = prefix_of(full_name);
  if (!prefix) return {};
  const auto refuse = [&](std::string_view rule) {
    return make_error(Errc::kInvalid, tree_path(tree, node) + ": xattr " + std::string(rule));
  };
  if (full_name.size() > 255) return refuse("name over 255 bytes");
  if (full_name.find('\0') != std::string_view::npos) return refuse("name with a NUL byte");
  if (value.size() > 65535) return refuse("value over 65535 bytes");
  if (x_attributes.size() >= UINT32_MAX) return refuse("count of the image over 2^32");
  x_attributes.push_back({prefix->index, full_name.substr(prefix->text.size()), value});
  return {};
}

void XattrTable::count_pairs() {
  std::unordered_map<PairKey, uint32_t, PairHash> known;
  for (Attribute& attribute : x_attributes) {
    const PairKey key{attribute.prefix, attribute.name, attribute.value};
    const auto [at, fresh] = known.try_emplace(key, static_cast<uint32_t>(x_pairs.size()));
    if (fresh) x_pairs.emplace_back();
    attribute.pair = at->second;
    ++x_pairs[attribute.pair].uses;
  }
}

void XattrTable::share(Attribute& attribute) {
  Pair& pair = x_pairs[attribute.pair];
  attribute.shared = true;
  if (pair.placed) return;
  pair.placed = true;
  pair.shared_id = static_cast<uint32_t>(x_shared_area.size() / 4);
  append_entry(x_shared_area, attribute.prefix, attribute.name, attribute.value);
}

// Decides shared or inline. Each inode's first 255 repeated pairs are shared; when what stays
// inline is still large, so are its single-use pairs.
Result<void> XattrTable::place(const ImageTree& tree) {
  x_body_bytes.resize(tree.nodes.size());
  for (uint32_t node = 0; node < tree.nodes.size(); ++node) {
    const std::span all =
        std::span(x_attributes).subspan(x_first[node], x_first[node + 1] - x_first[node]);
    if (all.empty()) continue;
    uint64_t inline_bytes = 0;
    for (const Attribute& a : all) {
      if (x_pairs[a.pair].uses < 2) inline_bytes += entry_bytes(a.name, a.value);
    }
    const bool spill = inline_bytes > kMaxInlineBytes;
    uint64_t shared_count = 0;
    uint64_t body = sizeof(XattrBodyHeader);
    for (Attribute& a : all) {
      if ((spill || x_pairs[a.pair].uses > 1) && shared_count < kMaxSharedPerInode) {
        share(a);
        ++shared_count;
        body += 4;
      } else {
        body += entry_bytes(a.name, a.value);
      }
    }
    if (body > kMaxBodyBytes) {
      return make_error(Errc::kInvalid,
                        tree_path(tree, node) + ": xattrs do not fit into one EROFS inode");
    }
    if (x_shared_area.size() / 4 >= UINT32_MAX) {
      return make_error(Errc::kInvalid,
                        tree_path(tree, node) + ": shared xattrs of the image over 16 GiB");
    }
    x_body_bytes[node] = static_cast<uint32_t>(body);
  }
  return {};
}

void XattrTable::append_body(uint32_t node, Bytes& out) const {
  const auto all = attributes_of(node);
  if (all.empty()) return;
  XattrBodyHeader header{};
  header.shared_count = static_cast<uint8_t>(
      std::count_if(all.begin(), all.end(), [](const Attribute& a) { return a.shared; }));
  append_struct(out, header);
  for (const Attribute& a : all) {
    if (a.shared) append_struct(out, x_pairs[a.pair].shared_id);
  }
  for (const Attribute& a : all) {
    if (!a.shared) append_entry(out, a.prefix, a.name, a.value);
  }
}

}  // namespace dedup::erofs
