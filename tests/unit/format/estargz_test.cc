#include "format/estargz.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>

#include "format/extent_identity.h"
#include "format/inflate.h"
#include "format/rfc3339.h"
#include "unit/format/estargz_maker.h"

namespace dedup {
namespace {

using Json = nlohmann::json;
using test::EstargzBlob;
using test::EstargzMaker;

constexpr uint32_t kChunk = 64 << 10;
const std::string kDigest = "sha256:" + std::string(64, 'a');
const std::string kOtherDigest = "sha256:" + std::string(64, 'b');

std::string error_of(const auto& result) {
  return result.ok() ? "(accepted)" : result.error().to_string();
}
#define EXPECT_SAYS(text, what) EXPECT_NE((text).find(what), std::string::npos) << (text)

// --- footer

TEST(EstargzFooter, ReadsTheCurrentForm) {
  const std::string tail = "tail of the blob" + test::estargz_footer(0x1234);
  const auto footer = parse_estargz_footer(as_bytes(tail), 0x2000);
  ASSERT_TRUE(footer.ok() && *footer);
  EXPECT_EQ((*footer)->toc_offset, 0x1234u);
  EXPECT_EQ((*footer)->footer_bytes, 51u);
}

std::string legacy_footer(const std::string& text) {
  return std::string("\x1f\x8b\x08\x04\0\0\0\0\0\xff\x16\0", 12) + text +
         std::string("\x01\0\0\xff\xff\0\0\0\0\0\0\0\0", 13);
}

TEST(EstargzFooter, ReadsTheLegacyForm) {
  const std::string tail = legacy_footer("0000000000000010STARGZ");
  const auto footer = parse_estargz_footer(as_bytes(tail), 47 + 17);
  ASSERT_TRUE(footer.ok() && *footer) << error_of(footer);
  EXPECT_EQ((*footer)->toc_offset, 16u);
  EXPECT_EQ((*footer)->footer_bytes, 47u);
}

TEST(EstargzFooter, FindsNoneInPlainLayers) {
  for (const std::string& tail :
       {std::string(), std::string(51, '\0'), std::string(4096, 'x'), test::gzip("plain")}) {
    const auto footer = parse_estargz_footer(as_bytes(tail), 1 << 20);
    ASSERT_TRUE(footer.ok());
    EXPECT_FALSE(footer->has_value());
  }
}

// Whatever byte of a footer is damaged: never accepted with another meaning than a hex digit gives
// it.
TEST(EstargzFooter, EveryDamagedByte) {
  const std::string good = test::estargz_footer(0x1234);
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x80);
    const auto footer = parse_estargz_footer(as_bytes(bad), 1ull << 62);
    const bool gzip_may_vary = i >= 4 && i < 10;
    const bool offset_digit = i >= 16 && i < 32;
    if (gzip_may_vary) continue;
    if (offset_digit) {
      EXPECT_FALSE(footer.ok()) << i;
    } else {
      EXPECT_TRUE(footer.ok() && !footer->has_value()) << i;
    }
  }
}

TEST(EstargzFooter, RefusesOffsetsOutsideTheBlob) {
  for (const uint64_t offset : {uint64_t{49}, uint64_t{50}, uint64_t{1} << 40, ~uint64_t{0}}) {
    const std::string tail = test::estargz_footer(offset);
    const auto footer = parse_estargz_footer(as_bytes(tail), 100);
    ASSERT_FALSE(footer.ok()) << offset;
    EXPECT_EQ(footer.error().code, Errc::kCorruption);
  }
  EXPECT_TRUE(parse_estargz_footer(as_bytes(test::estargz_footer(48)), 100).ok());
  EXPECT_FALSE(parse_estargz_footer(as_bytes(test::estargz_footer(0)), 51).ok());
}

TEST(EstargzFooter, ReportsExternalTocs) {
  const std::string tail = std::string("\x1f\x8b\x08\x04\0\0\0\0\0\xff\x15\0SG\x11\0", 16) +
                           "STARGZEXTERNALTOC" +
                           std::string("\x01\0\0\xff\xff\0\0\0\0\0\0\0\0", 13);
  ASSERT_EQ(tail.size(), 46u);
  const auto footer = parse_estargz_footer(as_bytes(tail), 1000);
  ASSERT_FALSE(footer.ok());
  EXPECT_EQ(footer.error().code, Errc::kUnsupported);
}

// --- TOC in its gzip member

TEST(EstargzExtract, ChecksTheDigestOfTheJson) {
  EstargzMaker maker(kChunk);
  maker.file("a", "content");
  const EstargzBlob made = maker.finish();
  const auto stored =
      as_bytes(made.blob).subspan(made.toc_offset).first(made.blob.size() - made.toc_offset - 51);
  const auto toc = extract_estargz_toc(stored, sha256(as_bytes(made.toc)), {});
  ASSERT_TRUE(toc.ok()) << error_of(toc);
  EXPECT_EQ(as_text(*toc), made.toc);
  EXPECT_TRUE(extract_estargz_toc(stored, std::nullopt, {}).ok());
  const auto wrong = extract_estargz_toc(stored, sha256(as_bytes("other")), {});
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.error().code, Errc::kCorruption);
}

TEST(EstargzExtract, RefusesDamage) {
  const std::string header = test::tar_header("stargz.index.json", 2, '0');
  const auto extract = [](const std::string& plain, LayerLimits limits = {}) {
    return error_of(extract_estargz_toc(as_bytes(test::gzip(plain)), std::nullopt, limits));
  };
  EXPECT_EQ(extract(header + "{}"), "(accepted)");
  EXPECT_SAYS(extract(header + "{"), "truncated");
  EXPECT_SAYS(extract(header.substr(0, 300)), "truncated");
  EXPECT_SAYS(extract(test::tar_header("other.json", 2, '0') + "{}"), "not the file");
  EXPECT_SAYS(extract(test::tar_header("stargz.index.json", 2, '5') + "{}"), "not the file");
  std::string sum = header;
  sum[0] = 'S';
  EXPECT_SAYS(extract(sum + "{}"), "checksum");
  LayerLimits small;
  small.max_toc_bytes = 1;
  EXPECT_SAYS(extract(header + "{}", small), "limit");
  // The size is within the limit, what follows it is not: a bomb behind the TOC.
  small.max_toc_bytes = 2;
  EXPECT_NE(extract(header + "{}" + std::string(1 << 20, '\0'), small), "(accepted)");
  EXPECT_NE(error_of(extract_estargz_toc(as_bytes("not gzip"), std::nullopt, {})), "(accepted)");
  const std::string whole = test::gzip(header + "{}");
  EXPECT_NE(
      error_of(extract_estargz_toc(as_bytes(whole.substr(0, whole.size() - 4)), std::nullopt, {})),
      "(accepted)");
}

// --- TOC

// A JSON array. Braces around one Json copy it instead.
template <typename... Entry>
Json list(Entry... entry) {
  Json all = Json::array();
  (all.push_back(std::move(entry)), ...);
  return all;
}

Json reg(const std::string& name, uint64_t size, uint64_t offset) {
  return {{"name", name},
          {"type", "reg"},
          {"size", size},
          {"offset", offset},
          {"chunkDigest", kDigest}};
}

Result<EstargzLayer> parse_text(const std::string& text, uint64_t toc_offset = 100'000,
                                LayerLimits limits = {}) {
  return parse_estargz_toc(as_bytes(text), {toc_offset, 51}, kChunk, limits);
}
Result<EstargzLayer> parse(const Json& entries, uint64_t toc_offset = 100'000,
                           LayerLimits limits = {}) {
  return parse_text(Json{{"version", 1}, {"entries", entries}}.dump(), toc_offset, limits);
}

const Inode* find(const LayerIndex& index, std::string_view path) {
  const Inode* inode = &index.inodes[kRootInode];
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), name.size() + 1));
    const auto child = std::find_if(inode->children.begin(), inode->children.end(),
                                    [&](const DirEntry& c) { return c.name == name; });
    if (child == inode->children.end()) return nullptr;
    inode = &index.inodes[child->inode];
  }
  return inode;
}

TEST(EstargzToc, EveryEntryType) {
  Json capability = {
      {"name", "cap"}, {"type", "reg"}, {"xattrs", {{"security.capability", "AQAAAgAgAAA="}}}};
  const auto layer =
      parse(list(Json{{"name", "d/"},
                      {"type", "dir"},
                      {"mode", 040755 | 01000},
                      {"uid", 5},
                      {"gid", 4294967294u},
                      {"modtime", "2022-01-02T03:04:05Z"}},
                 reg("./d/file", 10, 100),
                 Json{{"name", "/abs"}, {"type", "symlink"}, {"linkName", "../x/../y"}},
                 Json{{"name", "hard"}, {"type", "hardlink"}, {"linkName", "d/file"}},
                 Json{{"name", "c"}, {"type", "char"}, {"devMajor", 1}, {"devMinor", 3}},
                 Json{{"name", "b"}, {"type", "block"}, {"devMajor", 8}, {"devMinor", 300}},
                 Json{{"name", "f"}, {"type", "fifo"}},
                 Json{{"name", "implicit/parent/empty"}, {"type", "reg"}, {"size", 0}},
                 Json{{"name", "d/.wh.gone"}, {"type", "reg"}},
                 Json{{"name", "implicit/.wh..wh..opq"}, {"type", "reg"}}, capability));
  ASSERT_TRUE(layer.ok()) << error_of(layer);
  const LayerIndex& index = layer->index;
  ASSERT_NE(find(index, "d/file"), nullptr);
  EXPECT_EQ(find(index, "d")->mode, S_IFDIR | 01755u);
  EXPECT_EQ(find(index, "d")->uid, 5u);
  EXPECT_EQ(find(index, "d")->gid, 4294967294u);
  EXPECT_EQ(find(index, "d")->mtime_seconds, 1641092645);
  EXPECT_EQ(find(index, "hard"), find(index, "d/file"));
  EXPECT_EQ(find(index, "hard")->link_count, 2u);
  EXPECT_EQ(find(index, "abs")->symlink_target, "../x/../y");
  EXPECT_EQ(find(index, "b")->rdev_minor, 300u);
  EXPECT_TRUE(S_ISFIFO(find(index, "f")->mode));
  EXPECT_TRUE(find(index, "d/gone")->is_whiteout());
  EXPECT_TRUE(find(index, "implicit")->opaque);
  EXPECT_TRUE(find(index, "implicit/parent")->implicit);
  EXPECT_EQ(find(index, "cap")->xattrs,
            (std::vector<Xattr>{{"security.capability", std::string("\1\0\0\2\0\x20\0\0", 8)}}));
  ASSERT_EQ(index.chunks.size(), 1u);
  EXPECT_EQ(index.chunks[0].blob_bytes, 100'000u - 100);
  EXPECT_EQ(index.chunks[0].codec, Codec::kGzip);
}

TEST(EstargzToc, CompressedLengthReachesTheNextMember) {
  Json packed = reg("c", 5, 300);
  packed["innerOffset"] = 4096;
  packed["chunkDigest"] = kOtherDigest;
  const auto layer =
      parse(list(reg("b", 10, 300), packed, reg("z", 10, 700), reg("a", 10, 100)), 1000);
  ASSERT_TRUE(layer.ok()) << error_of(layer);
  std::map<std::string, uint64_t> bytes;
  for (const char* name : {"a", "b", "c", "z"}) {
    const Inode* inode = find(layer->index, name);
    bytes[name] =
        layer->index.chunks[layer->index.extents[inode->first_extent].first_chunk].blob_bytes;
  }
  EXPECT_EQ(bytes,
            (std::map<std::string, uint64_t>{{"a", 200}, {"b", 400}, {"c", 400}, {"z", 300}}));
}

TEST(EstargzToc, Landmarks) {
  const Json landmark = reg(".prefetch.landmark", 1, 500);
  auto layer = parse(list(reg("a", 10, 100), landmark, reg("b", 10, 600)));
  ASSERT_TRUE(layer.ok()) << error_of(layer);
  EXPECT_EQ(layer->prefetch, (ByteRange{0, 500}));
  EXPECT_EQ(find(layer->index, ".prefetch.landmark"), nullptr);
  EXPECT_EQ(layer->index.chunks[0].blob_bytes, 400u) << "the landmark's member ends the one before";

  layer = parse(list(reg("a", 10, 100), reg(".no.prefetch.landmark", 1, 500)));
  ASSERT_TRUE(layer.ok());
  EXPECT_TRUE(layer->prefetch.empty());
  EXPECT_EQ(find(layer->index, ".no.prefetch.landmark"), nullptr);

  layer = parse(list(reg("d/.prefetch.landmark", 1, 500)));
  ASSERT_TRUE(layer.ok());
  EXPECT_NE(find(layer->index, "d/.prefetch.landmark"), nullptr)
      << "only a name in the root is a landmark";
  EXPECT_SAYS(error_of(parse(list(reg(".prefetch.landmark", 1, 200'000)))), "not before the TOC");
}

TEST(EstargzToc, HidesItself) {
  const auto layer = parse(list(reg("stargz.index.json", 10, 100), reg("a", 10, 100)));
  ASSERT_TRUE(layer.ok()) << error_of(layer);
  EXPECT_EQ(find(layer->index, "stargz.index.json"), nullptr);
}

// A file of `sizes` chunks as reg and chunk entries.
Json chunked(const std::vector<uint64_t>& sizes, bool with_digest = true) {
  Json entries = Json::array();
  uint64_t total = 0;
  for (const uint64_t size : sizes) total += size;
  uint64_t at = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    Json entry = {{"name", "big"},
                  {"type", i == 0 ? "reg" : "chunk"},
                  {"offset", 100 + i * 100},
                  {"chunkOffset", at}};
    if (i == 0) entry["size"] = total;
    if (i == 0 && with_digest) entry["digest"] = kDigest;
    if (i + 1 < sizes.size()) entry["chunkSize"] = sizes[i];
    entry["chunkDigest"] =
        "sha256:" + std::string(62, 'c') + (i < 10 ? "0" : "1") + std::to_string(i % 10);
    entries.push_back(entry);
    at += sizes[i];
  }
  return entries;
}

TEST(EstargzToc, AlignedChunksAreExtents) {
  const auto layer = parse(chunked({kChunk, kChunk, 100}));
  ASSERT_TRUE(layer.ok()) << error_of(layer);
  ASSERT_EQ(layer->index.extents.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    const Extent& extent = layer->index.extents[i];
    EXPECT_EQ(extent.file_offset, i * kChunk);
    EXPECT_EQ(extent.bytes, i < 2 ? kChunk : 100);
    EXPECT_EQ(extent.chunk_count, 1u);
    EXPECT_EQ(extent.identity, layer->index.chunks[extent.first_chunk].digest);
  }
}

TEST(EstargzToc, OtherChunksMakeOneExtent) {
  for (const auto& sizes : {std::vector<uint64_t>{1000, 1000, 500},
                            {kChunk / 4, kChunk / 4, kChunk / 4, kChunk / 4, 1},
                            {2 * kChunk, 2 * kChunk},
                            {kChunk, 2 * kChunk},
                            {kChunk, 100, 100}}) {
    const auto layer = parse(chunked(sizes));
    ASSERT_TRUE(layer.ok()) << error_of(layer);
    ASSERT_EQ(layer->index.extents.size(), 1u);
    const Extent& extent = layer->index.extents[0];
    EXPECT_EQ(extent.bytes, find(layer->index, "big")->size);
    EXPECT_EQ(extent.chunk_count, sizes.size());
    EXPECT_EQ(extent.identity, identity_of_chunks(layer->index.chunks));
  }
}

// The pool shares bytes by identity, and nothing ever compares a whole file with its "digest"
// before a part is read: an image could otherwise plant its own bytes under the digest of another
// image's file.
TEST(EstargzToc, IdentityNeverComesFromAnUncheckedDigest) {
  Json lying = chunked({1000, 1000});
  lying[0]["digest"] = kOtherDigest;
  const auto honest = parse(chunked({1000, 1000}));
  const auto liar = parse(lying);
  ASSERT_TRUE(honest.ok() && liar.ok());
  EXPECT_EQ(honest->index.extents[0].identity, liar->index.extents[0].identity);
  // Nor can a small file be made whose content hashes to the identity of a chunked one.
  std::string preimage;
  for (const Chunk& chunk : honest->index.chunks) {
    std::array<std::byte, 8> bytes;
    store_le(bytes, chunk.bytes);
    preimage += as_text(bytes);
    preimage += as_text(chunk.digest.bytes);
  }
  EXPECT_NE(honest->index.extents[0].identity, sha256(as_bytes(preimage)));
  EXPECT_NE(honest->index.extents[0].identity,
            parse(chunked({999, 1001}))->index.extents[0].identity);
}

TEST(EstargzToc, SingleChunkMayUseTheFileDigest) {
  Json only = {{"name", "a"}, {"type", "reg"}, {"size", 10}, {"offset", 100}, {"digest", kDigest}};
  const auto layer = parse(list(only));
  ASSERT_TRUE(layer.ok()) << error_of(layer);
  EXPECT_EQ(layer->index.chunks[0].digest.to_string(), kDigest);
  EXPECT_EQ(layer->index.extents[0].identity.to_string(), kDigest);
  only["chunkDigest"] = kOtherDigest;
  EXPECT_SAYS(error_of(parse(list(only))), "differ");
}

TEST(EstargzToc, LastOfTwoEntriesOfOnePathWins) {
  Json second = reg("a", 20, 200);
  second["chunkDigest"] = kOtherDigest;
  const auto layer = parse(list(reg("a", 10, 100), second));
  ASSERT_TRUE(layer.ok()) << error_of(layer);
  EXPECT_EQ(find(layer->index, "a")->size, 20u);
}

struct Lie {
  const char* what;
  Json entries;
  const char* says;
};

Json with(Json entry, const char* key, Json value) {
  entry[key] = std::move(value);
  return entry;
}
Json without(Json entry, const char* key) {
  entry.erase(key);
  return entry;
}
Json with_at(Json entries, size_t index, const char* key, Json value) {
  entries[index][key] = std::move(value);
  return entries;
}

TEST(EstargzToc, RefusesEveryLie) {
  const Json good = reg("a", 10, 100);
  const Json two = chunked({kChunk, kChunk, 100});
  const Lie lies[] = {
      {"offset at the TOC", list(with(good, "offset", 100'000)),
       "entry 0: a: offset 100000 is not before the TOC"},
      {"offset far outside", list(with(good, "offset", ~0ull)), "not before the TOC"},
      {"no offset", list(without(good, "offset")), "without an offset"},
      {"null offset", list(with(good, "offset", nullptr)), "without an offset"},
      {"two files, one place", list(good, reg("b", 10, 100)), "claim the same bytes"},
      {"overlap in a packed member", list(good, with(reg("b", 10, 100), "innerOffset", 9)),
       "claim the same bytes"},
      {"chunks with a gap", with_at(two, 1, "chunkOffset", kChunk + 1), "does not follow"},
      {"overlapping chunks", with_at(two, 2, "chunkOffset", kChunk), "does not follow"},
      {"chunk past the size", with_at(two, 2, "chunkSize", 101), "past the file's size"},
      {"chunks short of the size", with_at(two, 2, "chunkSize", 99), "cover"},
      {"chunks missing", list(two[0], two[1]), "cover"},
      {"chunk after the last", list(two[0], two[1], two[2], two[2]), "does not follow"},
      {"first chunk not at 0", list(with(good, "chunkOffset", 1)), "does not start at 0"},
      {"chunkSize over size", list(with(good, "chunkSize", 11)), "past the file's size"},
      {"chunk of an empty file", list(with(with(good, "size", 0), "chunkSize", 5)), "empty file"},
      {"chunk entry of an empty file", list(with(good, "size", 0), two[1]), "does not follow"},
      {"no digest", list(without(good, "chunkDigest"), reg("b", 1, 200)),
       "entry 0: a: chunk without a digest"},
      {"no digest of a later chunk", with_at(two, 1, "chunkDigest", ""), "without a digest"},
      {"short digest", list(with(good, "chunkDigest", "sha256:aa")), "64 hex digits"},
      {"upper-case digest", list(with(good, "chunkDigest", "sha256:" + std::string(64, 'A'))),
       "lower-case"},
      {"other algorithm", list(with(good, "chunkDigest", "sha512:" + std::string(128, 'a'))),
       "sha256"},
      {"bad file digest", list(with(good, "digest", "nonsense")), "sha256"},
      {"one digest for two sizes", list(good, reg("b", 11, 200)), "two sizes"},
      {"unknown type", list(with(good, "type", "socket")), "unknown type \"socket\""},
      {"no type", list(without(good, "type")), "unknown type"},
      {"chunk first", list(two[1]), "chunk without a file"},
      {"chunk after a directory",
       list(two[0], two[1], two[2], Json{{"name", "d"}, {"type", "dir"}}, two[1]), "chunk without"},
      {"path traversal", list(with(good, "name", "../etc/passwd")), ".."},
      {"traversal inside", list(with(good, "name", "a/../../b")), ".."},
      {"hard link to nothing",
       list(Json{{"name", "h"}, {"type", "hardlink"}, {"linkName", "nowhere"}}), "nowhere"},
      {"negative size", list(with(good, "size", -1)), "\"size\" is negative"},
      {"negative offset", list(with(good, "offset", -5)), "\"offset\" is negative"},
      {"negative uid", list(with(good, "uid", -1)), "\"uid\" is negative"},
      {"fractional size", list(with(good, "size", 1.5)), "\"size\" is fractional"},
      {"huge size", list(with(good, "size", ~0ull)), "over the limit"},
      {"huge chunk", list(with(good, "size", 65ull << 20)), "gzip member"},
      {"huge innerOffset", list(with(good, "innerOffset", ~0ull)), "gzip member"},
      {"huge chunkOffset", with_at(two, 1, "chunkOffset", ~0ull), "does not follow"},
      {"huge uid", list(with(good, "uid", 1ull << 32)), "uid"},
      {"text for a number", list(with(good, "size", "10")), "\"size\" is of the wrong kind"},
      {"number for text", list(with(good, "name", 10)), "\"name\" is of the wrong kind"},
      {"object for a number", list(with(good, "size", Json::object())),
       "\"size\" is of the wrong kind"},
      {"array of xattrs", list(with(good, "xattrs", Json::array())),
       "\"xattrs\" is of the wrong kind"},
      {"xattr not base64", list(with(good, "xattrs", {{"user.a", "not base64!"}})), "not base64"},
      {"xattr number", list(with(good, "xattrs", {{"user.a", 5}})), "wrong kind"},
      {"bad time", list(with(good, "modtime", "yesterday")), "RFC 3339"},
      {"entry is a number", list(good, 5), "not an object"},
      {"entry is an array", list(Json::array()), "not an object"},
  };
  for (const Lie& lie : lies) {
    const auto layer = parse(lie.entries);
    ASSERT_FALSE(layer.ok()) << lie.what << " was accepted";
    EXPECT_NE(layer.error().to_string().find(lie.says), std::string::npos)
        << lie.what << ": " << layer.error().to_string();
    EXPECT_NE(layer.error().to_string().find("eStargz TOC"), std::string::npos)
        << layer.error().to_string();
  }
  EXPECT_TRUE(parse(list(good)).ok());
  EXPECT_TRUE(parse(two).ok());
}

TEST(EstargzToc, RefusesWhatIsNoToc) {
  for (const char* text :
       {"", "{", "[]", "5", "null", "\"entries\"", "{\"version\":1,\"entries\":[]} x",
        "{\"version\":1}", "{\"entries\":[]}", "{\"version\":1,\"entries\":{}}",
        "{\"version\":\"1\",\"entries\":[]}", "{\"version\":1,\"entries\":[],\"entries\":[]}",
        "{\"version\":1,\"entries\":[{\"name\":\"\xff\"}]}"}) {
    EXPECT_FALSE(parse_text(text).ok()) << text;
  }
  const auto newer = parse_text("{\"version\":2,\"entries\":[]}");
  ASSERT_FALSE(newer.ok());
  EXPECT_EQ(newer.error().code, Errc::kUnsupported);
  EXPECT_TRUE(parse_text("{\"version\":1,\"entries\":[]}").ok());
}

TEST(EstargzToc, SkipsUnknownFields) {
  const auto layer = parse_text(
      R"({"future":{"entries":[{"type":"chunk"}],"version":9},"version":1,"list":[1,[2,{"a":null}],true],)"
      R"("entries":[{"name":"a","NumLink":0,"extra":{"size":-1,"x":[{}]},"type":"dir","flags":[1.5,"x"]}]})");
  ASSERT_TRUE(layer.ok()) << error_of(layer);
  EXPECT_NE(find(layer->index, "a"), nullptr);
}

TEST(EstargzToc, RefusesDeepNesting) {
  const std::string deep = std::string("{\"version\":1,\"x\":") + std::string(1'000'000, '[');
  EXPECT_SAYS(error_of(parse_text(deep)), "nested deeper");
  std::string objects = "{\"version\":1,\"x\":";
  for (int i = 0; i < 100'000; ++i) objects += "{\"x\":";
  EXPECT_SAYS(error_of(parse_text(objects)), "nested deeper");
}

TEST(EstargzToc, KeepsLimits) {
  LayerLimits limits;
  limits.max_entries = 2;
  EXPECT_SAYS(error_of(parse(list(reg("a", 0, 1), reg("b", 0, 2), reg("c", 0, 3)), 100, limits)),
              "more than 2 entries");
  limits = {};
  limits.max_chunk_bytes = 1000;
  EXPECT_SAYS(error_of(parse(list(reg("a", 1001, 1)), 100, limits)), "gzip member");
  EXPECT_SAYS(error_of(parse(list(reg("a", 10, 1)), 5000, limits)), "over the limit");
  limits = {};
  limits.max_toc_bytes = 10;
  EXPECT_SAYS(error_of(parse(Json::array(), 100, limits)), "size limit");
}

// --- a whole blob

std::string noise(size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>('a' + random() % 20);
  return text;
}

// Every chunk's stored range decodes to what it claims, from exactly those bytes.
void check_chunks(const EstargzBlob& made, const std::map<std::string, std::string>& files,
                  uint32_t chunk_bytes) {
  const auto blob = as_bytes(made.blob);
  const auto footer = parse_estargz_footer(blob.last(51), blob.size());
  ASSERT_TRUE(footer.ok() && *footer);
  ASSERT_EQ((*footer)->toc_offset, made.toc_offset);
  const auto stored = blob.subspan(made.toc_offset, blob.size() - made.toc_offset - 51);
  const auto toc = extract_estargz_toc(stored, sha256(as_bytes(made.toc)), {});
  ASSERT_TRUE(toc.ok()) << error_of(toc);
  const auto layer = parse_estargz_toc(*toc, **footer, chunk_bytes, {});
  ASSERT_TRUE(layer.ok()) << error_of(layer);
  for (const auto& [name, content] : files) {
    const Inode* inode = find(layer->index, name);
    ASSERT_NE(inode, nullptr) << name;
    std::string got;
    for (uint32_t e = inode->first_extent; e < inode->first_extent + inode->extent_count; ++e) {
      const Extent& extent = layer->index.extents[e];
      ASSERT_EQ(extent.file_offset, got.size());
      for (uint32_t c = extent.first_chunk; c < extent.first_chunk + extent.chunk_count; ++c) {
        const Chunk& chunk = layer->index.chunks[c];
        Bytes out(chunk.bytes);
        const auto inflated =
            inflate_chunk(chunk, blob.subspan(chunk.blob_offset, chunk.blob_bytes), out);
        ASSERT_TRUE(inflated.ok()) << name << ": " << inflated.error().to_string();
        EXPECT_EQ(sha256(out), chunk.digest) << name;
        got += as_text(out);
      }
    }
    EXPECT_TRUE(got == content) << name;
  }
}

class EstargzWhole : public testing::TestWithParam<std::tuple<uint64_t, uint64_t>> {};

TEST_P(EstargzWhole, EveryChunkInflatesToItsDigest) {
  const auto [writer_chunk, packed] = GetParam();
  EstargzMaker maker(writer_chunk, packed);
  std::map<std::string, std::string> files;
  const auto add = [&](const std::string& name, size_t bytes) {
    files[name] = noise(bytes, static_cast<unsigned>(files.size()));
    maker.file(name, files[name]);
  };
  maker.other("dir/", "dir", '5');
  add("dir/small", 5);
  maker.other("dir/link", "symlink", '2', "small");
  add("dir/empty", 0);
  for (int i = 0; i < 50; ++i) maker.other("many" + std::to_string(i), "fifo", '6');
  add("chunk", kChunk);
  add("chunk-and-one", kChunk + 1);
  add("large", 5 * kChunk + 777);
  add("last", 1);
  maker.other("hard", "hardlink", '1', "last");
  check_chunks(maker.finish(), files, kChunk);
}

INSTANTIATE_TEST_SUITE_P(Writers, EstargzWhole,
                         testing::Combine(testing::Values(kChunk, kChunk / 4, 1000, 4 * kChunk),
                                          testing::Values(0, 50'000)));

// --- layers made by other writers

std::optional<std::string> fixture(const std::string& name) {
  const auto path =
      std::filesystem::path(__FILE__).parent_path() / "../../../../shared/fixtures/estargz" / name;
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(EstargzFixture, SampleToc) {
  const auto toc = fixture("estargz_sample.json");
  if (!toc) GTEST_SKIP() << "missing: shared/fixtures/estargz/estargz_sample.json";
  const auto layer = parse_estargz_toc(as_bytes(*toc), {900'000, 51}, kDefaultChunkBytes, {});
  ASSERT_TRUE(layer.ok()) << error_of(layer);
  EXPECT_EQ(find(layer->index, "bin/busybox"), find(layer->index, "bin/busybox2"));
  EXPECT_EQ(find(layer->index, "bin/busybox")->size, 833104u);
  EXPECT_EQ(layer->index.chunks.size(), 2u);
  EXPECT_EQ(layer->prefetch, (ByteRange{0, 886633}));
}

TEST(EstargzFixture, LegacyLayer) {
  const auto footer_bytes = fixture("stargzfooter.bin");
  const auto stored = fixture("stargztoc.bin");
  if (!footer_bytes || !stored)
    GTEST_SKIP() << "missing: shared/fixtures/estargz/stargz{footer,toc}.bin";
  const uint64_t toc_offset = 0x174f733;
  const auto footer =
      parse_estargz_footer(as_bytes(*footer_bytes), toc_offset + stored->size() + 47);
  ASSERT_TRUE(footer.ok() && *footer) << error_of(footer);
  EXPECT_EQ((*footer)->toc_offset, toc_offset);
  const auto toc = extract_estargz_toc(as_bytes(*stored), std::nullopt, {});
  ASSERT_TRUE(toc.ok()) << error_of(toc);
  const auto layer = parse_estargz_toc(*toc, **footer, kDefaultChunkBytes, {});
  ASSERT_TRUE(layer.ok()) << error_of(layer);
  EXPECT_EQ(find(layer->index, "bin/bash")->size, 1099016u);
  EXPECT_GT(layer->index.inodes.size(), 4500u);
  for (const Chunk& chunk : layer->index.chunks) {
    EXPECT_GT(chunk.blob_bytes, 0u);
    EXPECT_LE(chunk.blob_offset + chunk.blob_bytes, toc_offset);
  }
}

// --- time stamps

TEST(Rfc3339, Parses) {
  EXPECT_EQ(*parse_rfc3339(""), (Timestamp{0, 0}));
  EXPECT_EQ(*parse_rfc3339("1970-01-01T00:00:00Z"), (Timestamp{0, 0}));
  EXPECT_EQ(*parse_rfc3339("1969-12-31T23:59:59.5Z"), (Timestamp{-1, 500'000'000}));
  EXPECT_EQ(*parse_rfc3339("2019-08-20T10:30:43Z"), (Timestamp{1566297043, 0}));
  EXPECT_EQ(*parse_rfc3339("2019-08-20T10:30:43.123456789999+02:00"),
            (Timestamp{1566289843, 123'456'789}));
  EXPECT_EQ(*parse_rfc3339("2020-02-29T00:00:00-00:30"), (Timestamp{1582936200, 0}));
  EXPECT_EQ(*parse_rfc3339("0001-01-01T00:00:00Z"), (Timestamp{-62135596800, 0}));
}

TEST(Rfc3339, Refuses) {
  for (const char* text : {"2019", "2019-08-20", "2019-08-20T10:30:43", "2019-08-20T10:30:43Zx",
                           "2019-13-20T10:30:43Z", "2019-02-29T10:30:43Z", "2019-08-20T24:00:00Z",
                           "2019-08-20T10:60:43Z", "-019-08-20T10:30:43Z", "2019-08-20T10:30:43.Z",
                           "2019-08-20 10:30:43Z", "2019-08-20T10:30:43+2:00"}) {
    EXPECT_FALSE(parse_rfc3339(text).ok()) << text;
  }
}

}  // namespace
}  // namespace dedup
