#include "format/inflate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <random>

namespace dedup {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr uint64_t kNoLimit = 1ull << 40;

std::string text(size_t bytes, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string out;
  while (out.size() < bytes)
    out += "word" + std::to_string(random() % 5000) + (random() % 9 == 0 ? "\n" : " ");
  out.resize(bytes);
  return out;
}
std::string noise(size_t bytes) {
  std::mt19937 random(3);
  std::string out(bytes, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

std::string gzip(const std::string& data, int level = 6, bool with_header = false) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
  gz_header header{};
  std::string extra(300, 'e');
  std::string name = "a name";
  std::string comment(700, 'c');
  if (with_header) {
    header.extra = reinterpret_cast<Bytef*>(extra.data());
    header.extra_len = static_cast<uInt>(extra.size());
    header.name = reinterpret_cast<Bytef*>(name.data());
    header.comment = reinterpret_cast<Bytef*>(comment.data());
    header.hcrc = 1;
    EXPECT_EQ(deflateSetHeader(&stream, &header), Z_OK);
  }
  std::string out(deflateBound(&stream, data.size()) + 2000, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(const std::string& data, bool checksum = true) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, checksum ? 1 : 0);
  std::string out(ZSTD_compressBound(data.size()), '\0');
  out.resize(ZSTD_compress2(context, out.data(), out.size(), data.data(), data.size()));
  ZSTD_freeCCtx(context);
  return out;
}

std::string skippable(const std::string& body) {
  std::string out = {'\x5a', '\x2a', '\x4d', '\x18'};
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(body.size() >> shift);
  return out + body;
}

struct Outcome {
  std::string data;
  Result<void> result;
};

// step: bytes per piece; each piece in a buffer of its own, so that a read past it is seen.
Outcome inflate(const std::string& blob, size_t step = SIZE_MAX, uint64_t limit = kNoLimit,
                std::optional<Codec> codec = {}) {
  Outcome outcome;
  Inflater inflater(codec ? *codec : detect_codec(dedup::as_bytes(blob)), limit);
  const auto sink = [&outcome](std::span<const std::byte> bytes) {
    outcome.data += as_text(bytes);
    return Result<void>();
  };
  for (size_t at = 0; at < blob.size(); at += std::min(step, blob.size() - at)) {
    const std::string piece = blob.substr(at, step);
    outcome.result = inflater.feed(dedup::as_bytes(piece), sink);
    if (!outcome.result.ok()) return outcome;
  }
  outcome.result = inflater.finish();
  return outcome;
}

void expect_data(const std::string& blob, const std::string& want) {
  for (const size_t step : {size_t{1}, size_t{7}, size_t{512}, size_t{100'000}, SIZE_MAX}) {
    const Outcome outcome = inflate(blob, step);
    EXPECT_TRUE(outcome.result.ok()) << "by " << step << ": " << outcome.result.error().to_string();
    EXPECT_TRUE(outcome.data == want) << "by " << step;
  }
}

TEST(DetectCodec, ByFirstBytes) {
  EXPECT_EQ(detect_codec(dedup::as_bytes(gzip("x"))), Codec::kGzip);
  EXPECT_EQ(detect_codec(dedup::as_bytes(zstd("x"))), Codec::kZstd);
  EXPECT_EQ(detect_codec(dedup::as_bytes(skippable("x"))), Codec::kZstd);
  EXPECT_EQ(detect_codec({}), Codec::kNone);
  EXPECT_EQ(detect_codec(dedup::as_bytes("\x1f")), Codec::kNone);
  EXPECT_EQ(detect_codec(dedup::as_bytes(std::string(512, '\0'))), Codec::kNone);
}

TEST(Inflater, None) {
  expect_data("plain tar", "plain tar");
}

TEST(Inflater, GzipAnySplitAnyLevel) {
  for (const int level : {0, 1, 6, 9}) expect_data(gzip(text(80'000), level), text(80'000));
  expect_data(gzip(noise(80'000)), noise(80'000));
  expect_data(gzip(""), "");
  expect_data(gzip("x", 6, true), "x");
}

TEST(Inflater, GzipManyMembers) {
  std::string blob;
  std::string want;
  for (unsigned i = 0; i < 40; ++i) {
    const std::string part = text(i % 5 == 0 ? 0 : i * 777, i);
    blob += gzip(part, 6, i % 3 == 0);
    want += part;
  }
  expect_data(blob, want);
  expect_data(blob + std::string(1500, '\0'), want);  // padding as tape tools write it
}

TEST(Inflater, GzipExpandsFarMoreThanTheBuffer) {
  const std::string zeros(16u << 20, '\0');
  expect_data(gzip(zeros, 9), zeros);
}

TEST(Inflater, ZstdFramesAndSkippableFrames) {
  const std::string a = text(400'000, 1);
  const std::string b = text(10, 2);
  expect_data(zstd(a), a);
  expect_data(
      skippable("first") + zstd(a) + skippable("") + zstd("") + zstd(b, false) + skippable("last"),
      a + b);
}

TEST(Inflater, LimitStopsBombs) {
  const std::string zeros(10u << 20, '\0');
  for (const std::string& blob : {gzip(zeros, 9), zstd(zeros), zeros}) {
    EXPECT_TRUE(inflate(blob, SIZE_MAX, zeros.size()).result.ok());
    const Outcome outcome = inflate(blob, SIZE_MAX, zeros.size() - 1);
    ASSERT_FALSE(outcome.result.ok());
    EXPECT_EQ(outcome.result.error().code, Errc::kNoSpace);
    EXPECT_LT(outcome.data.size(), zeros.size());
  }
}

TEST(Inflater, EveryTruncationIsSeen) {
  const std::string data = text(3000);
  for (const std::string& blob :
       {gzip(data), gzip("x", 6, true), zstd(data), zstd(data) + skippable("abc")}) {
    const Codec codec = detect_codec(dedup::as_bytes(blob));
    const size_t first =
        codec == Codec::kZstd && blob.size() > zstd(data).size() ? zstd(data).size() : 0;
    for (size_t bytes = 1; bytes < blob.size(); ++bytes) {
      if (bytes == first) continue;  // between two frames
      for (const size_t step : {size_t{1}, SIZE_MAX}) {
        const Outcome outcome = inflate(blob.substr(0, bytes), step, kNoLimit, codec);
        ASSERT_FALSE(outcome.result.ok()) << bytes << " of " << blob.size();
        EXPECT_EQ(outcome.result.error().code, Errc::kCorruption);
      }
    }
  }
}

TEST(Inflater, TrailerAndDamage) {
  const std::string data = text(5000);
  const std::string blob = gzip(data);
  for (size_t back = 1; back <= 8; ++back) {  // crc32 and isize
    std::string damaged = blob;
    damaged[blob.size() - back] = static_cast<char>(damaged[blob.size() - back] ^ 1);
    for (const size_t step : {size_t{1}, size_t{5}, SIZE_MAX}) {
      const Outcome outcome = inflate(damaged, step);
      ASSERT_FALSE(outcome.result.ok()) << "trailer byte -" << back << " by " << step;
      EXPECT_EQ(outcome.result.error().code, Errc::kCorruption);
    }
  }
  size_t accepted = 0;
  for (size_t at = 10; at < blob.size(); ++at) {
    std::string damaged = blob;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    const Outcome outcome = inflate(damaged);
    accepted += outcome.result.ok() && outcome.data != data;
  }
  EXPECT_EQ(accepted, 0u);
  std::string damaged = zstd(data);
  damaged[damaged.size() - 1] = static_cast<char>(damaged[damaged.size() - 1] ^ 1);
  EXPECT_FALSE(inflate(damaged).result.ok()) << "zstd checksum";
}

TEST(Inflater, GarbageAfterTheLastMember) {
  for (const char* tail : {"x", "\x1f\x8b", "garbage garbage garbage"}) {
    EXPECT_EQ(inflate(gzip("a") + tail).result.error().code, Errc::kCorruption) << tail;
    EXPECT_EQ(inflate(zstd("a") + tail).result.error().code, Errc::kCorruption) << tail;
  }
  const std::string padded = gzip("a") + std::string(10, '\0');
  EXPECT_FALSE(inflate(padded + gzip("b"), 1).result.ok());
  EXPECT_THAT(inflate(padded + "x").result.error().context, HasSubstr("garbage"));
}

TEST(Inflater, SinkErrorComesBack) {
  Inflater inflater(Codec::kGzip, kNoLimit);
  const auto fed =
      inflater.feed(dedup::as_bytes(gzip("data")), [](std::span<const std::byte>) -> Result<void> {
        return make_error(Errc::kCancelled, "stop");
      });
  EXPECT_EQ(fed.error().code, Errc::kCancelled);
  EXPECT_EQ(fed.error().context, "stop");
}

Chunk chunk_of(Codec codec, uint64_t inner_offset, uint64_t bytes) {
  Chunk chunk;
  chunk.codec = codec;
  chunk.inner_offset = inner_offset;
  chunk.bytes = bytes;
  return chunk;
}

TEST(InflateChunk, TakesItsPartAndIgnoresTheRest) {
  const std::string data = text(500'000);
  for (const auto& [codec, stored] :
       {std::pair(Codec::kNone, data), std::pair(Codec::kGzip, gzip(data) + "tail"),
        std::pair(Codec::kZstd, zstd(data) + "tail")}) {
    for (const auto& [inner, bytes] : {std::pair<size_t, size_t>(0, data.size()),
                                       {0, 0},
                                       {0, 1},
                                       {1, 70'000},
                                       {65'536, 10},
                                       {300'000, 200'000}}) {
      Bytes out(bytes);
      auto inflated = inflate_chunk(chunk_of(codec, inner, bytes), dedup::as_bytes(stored), out);
      ASSERT_TRUE(inflated.ok()) << inflated.error().to_string();
      EXPECT_TRUE(as_text(out) == std::string_view(data).substr(inner, bytes));
    }
    Bytes out(10);
    const auto too_far = inflate_chunk(chunk_of(codec, data.size() - 9, 10),
                                       dedup::as_bytes(stored).first(stored.size() - 4), out);
    EXPECT_EQ(too_far.error().code, Errc::kCorruption);
    const auto cut = inflate_chunk(chunk_of(codec, 0, 10), dedup::as_bytes(stored).first(9), out);
    EXPECT_EQ(cut.error().code, Errc::kCorruption);
    EXPECT_EQ(
        inflate_chunk(chunk_of(codec, UINT64_MAX, 10), dedup::as_bytes(stored), out).error().code,
        Errc::kCorruption);
    EXPECT_EQ(inflate_chunk(chunk_of(codec, 0, 9), dedup::as_bytes(stored), out).error().code,
              Errc::kInvalid);
  }
}

TEST(InflateChunk, SpansGzipMembers) {
  const std::string stored = gzip("abc") + gzip("") + gzip("defgh");
  Bytes out(4);
  ASSERT_TRUE(inflate_chunk(chunk_of(Codec::kGzip, 2, 4), dedup::as_bytes(stored), out).ok());
  EXPECT_EQ(as_text(out), "cdef");
}

TEST(InflateChunk, DamagedData) {
  std::string stored = gzip(noise(1000));
  stored[0] = 'x';
  Bytes out(1000);
  EXPECT_EQ(
      inflate_chunk(chunk_of(Codec::kGzip, 0, 1000), dedup::as_bytes(stored), out).error().code,
      Errc::kCorruption);
  EXPECT_EQ(
      inflate_chunk(chunk_of(Codec::kZstd, 0, 1000), dedup::as_bytes(stored), out).error().code,
      Errc::kCorruption);
}

// zlib's gzread is the second opinion on archives of other tools.
std::string zlib_read(const fs::path& path) {
  std::string out;
  gzFile in = gzopen(path.c_str(), "rb");
  char buffer[65536];
  int got = 0;
  while ((got = gzread(in, buffer, sizeof(buffer))) > 0)
    out.append(buffer, static_cast<size_t>(got));
  EXPECT_EQ(got, 0);
  gzclose(in);
  return out;
}

TEST(Inflater, Fixtures) {
  const fs::path folder = fs::path(__FILE__).parent_path() / "../../../../shared/fixtures/zran";
  size_t seen = 0;
  for (const char* name : {"bgzip.tar.gz", "zran-single-stream.tar.gz", "zran-two-streams.tar.gz",
                           "zran-zero-file.tar.gz"}) {
    if (!fs::exists(folder / name)) continue;
    ++seen;
    std::ifstream in(folder / name, std::ios::binary);
    const std::string blob{std::istreambuf_iterator<char>(in), {}};
    const std::string want = zlib_read(folder / name);
    EXPECT_FALSE(want.empty());
    for (const size_t step : {size_t{4093}, SIZE_MAX}) {
      const Outcome outcome = inflate(blob, step);
      EXPECT_TRUE(outcome.result.ok()) << name << ": " << outcome.result.error().to_string();
      EXPECT_TRUE(outcome.data == want) << name;
    }
  }
  if (seen == 0) GTEST_SKIP() << "missing: shared/fixtures/zran/*.tar.gz";
}

}  // namespace
}  // namespace dedup
