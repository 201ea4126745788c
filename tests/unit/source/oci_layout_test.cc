#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "source/source.h"
#include "unit/io/loop_thread.h"

namespace dedup {
namespace {

using test::LoopThread;
namespace fs = std::filesystem;

const Platform kAmd64{"linux", "amd64", ""};

Task<Result<Bytes>> read_all(BlobSource& source, Digest blob, uint64_t blob_bytes) {
  CO_TRY(stream, co_await source.open_stream(blob, blob_bytes, Priority::kBackground));
  Bytes all;
  for (;;) {
    CO_TRY(piece, co_await stream->read_some());
    if (piece.empty()) co_return all;
    all.insert(all.end(), piece.begin(), piece.end());
  }
}

class OciLayout : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "layoutXXXXXX").string();
    directory = ::mkdtemp(pattern.data());
    fs::create_directories(directory + "/blobs/sha256");
    write("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
    for (size_t i = 0; i < 3'000'000; ++i) layer += static_cast<char>(i * 11 + i / 509);
    manifest = image(layer);
    write_index({tagged(manifest, "v1")});
  }
  void TearDown() override { fs::remove_all(directory); }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(directory + "/" + name, std::ios::binary) << text;
  }
  std::string blob_name(const Digest& digest) { return "blobs/sha256/" + digest.hex(); }
  std::string put(const std::string& bytes, const std::string& more = "") {
    const Digest digest = sha256(as_bytes(bytes));
    write(blob_name(digest), bytes);
    return R"({"mediaType":"","digest":")" + digest.to_string() + R"(","size":)" +
           std::to_string(bytes.size()) + more + "}";
  }
  std::string image(const std::string& layer_bytes) {
    const std::string config = R"({"architecture":"amd64","os":"linux","rootfs":{"diff_ids":[")" +
                               sha256(as_bytes(layer_bytes)).to_string() + R"("]}})";
    return R"({"schemaVersion":2,"config":)" + put(config) + R"(,"layers":[)" + put(layer_bytes) +
           "]}";
  }
  std::string tagged(const std::string& document, const std::string& tag) {
    return put(document, R"(,"annotations":{"org.opencontainers.image.ref.name":")" + tag + "\"}");
  }
  void write_index(const std::vector<std::string>& entries) {
    std::string list;
    for (const auto& entry : entries) list += (list.empty() ? "" : ",") + entry;
    write("index.json", R"({"schemaVersion":2,"manifests":[)" + list + "]}");
  }
  Result<ResolvedImage> resolve(const std::string& suffix, std::optional<Digest> hint = {}) {
    const auto reference = Reference::parse("oci:" + directory + suffix);
    auto source = make_layout_source(workers, log, *reference);
    return loop.run(source->resolve(*reference, hint, kAmd64));
  }
  std::unique_ptr<ImageSource> source() {
    return make_layout_source(workers, log, *Reference::parse("oci:" + directory));
  }
  Result<Bytes> read(const Digest& digest, uint64_t bytes, ByteRange range) {
    return loop.run(source()->read(digest, bytes, range, Priority::kOnDemand));
  }

  std::string directory, layer, manifest;
  UniqueFd null_fd{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  Log log{null_fd.get()};
  LoopThread loop;
  Workers workers{loop.ring(), 2};
};

TEST_F(OciLayout, ResolvesByTagDigestAndAlone) {
  const Digest digest = sha256(as_bytes(manifest));
  for (const std::string& suffix : {std::string(":v1"), std::string(), "@" + digest.to_string()}) {
    const auto resolved = resolve(suffix);
    ASSERT_TRUE(resolved.ok()) << resolved.error().to_string();
    EXPECT_EQ(resolved->manifest_digest, digest);
    EXPECT_EQ(resolved->config.diff_ids.size(), 1U);
  }
  EXPECT_TRUE(resolve(":v1", digest).ok());
  const auto missing = resolve(":v2");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, Errc::kNotFound);
  EXPECT_NE(missing.error().context.find("it has v1"), std::string::npos);
  write_index({tagged(manifest, "v1"), tagged(image("other"), "v2")});
  EXPECT_EQ(resolve("").error().code, Errc::kNotFound);
  EXPECT_TRUE(resolve(":v2").ok());
}

TEST_F(OciLayout, FollowsNestedIndexesButNotForever) {
  std::string document = manifest;
  for (int depth = 0; depth < 4; ++depth) {
    document = R"({"schemaVersion":2,"manifests":[)" + put(document) + "]}";
    write_index({tagged(document, "v1")});
    EXPECT_EQ(resolve(":v1").ok(), depth < 3) << depth;
  }
}

TEST_F(OciLayout, ReadsRangesAndStreams) {
  const Digest digest = sha256(as_bytes(layer));
  for (const ByteRange range : {ByteRange{0, 10}, ByteRange{2'999'999, 1}, ByteRange{5, 0},
                                ByteRange{1000, 2'000'000}, ByteRange{0, layer.size()}}) {
    const auto bytes = read(digest, layer.size(), range);
    ASSERT_TRUE(bytes.ok()) << bytes.error().to_string();
    EXPECT_EQ(as_text(*bytes), std::string_view(layer).substr(range.offset, range.length));
  }
  const auto held = source();
  const auto streamed = loop.run(read_all(*held, digest, layer.size()));
  ASSERT_TRUE(streamed.ok());
  EXPECT_EQ(as_text(*streamed), layer);
  EXPECT_EQ(read(digest, layer.size(), {2'999'999, 2}).error().code, Errc::kInvalid);
  EXPECT_EQ(read(digest, layer.size(), {UINT64_MAX, 2}).error().code, Errc::kInvalid);
}

TEST_F(OciLayout, DamagedBlobsAreErrors) {
  const Digest digest = sha256(as_bytes(layer));
  EXPECT_EQ(read(sha256(as_bytes("absent")), 5, {0, 5}).error().code, Errc::kNotFound);
  EXPECT_EQ(read(digest, layer.size() + 1, {0, 5}).error().code, Errc::kCorruption);
  write(blob_name(sha256(as_bytes(manifest))), std::string(manifest.size(), ' '));
  EXPECT_EQ(resolve(":v1").error().code, Errc::kCorruption);
  write(blob_name(sha256(as_bytes(manifest))), manifest + " ");
  EXPECT_EQ(resolve(":v1").error().code, Errc::kCorruption);
  fs::remove(directory + "/" + blob_name(digest));
  ASSERT_EQ(::mkfifo((directory + "/" + blob_name(digest)).c_str(), 0600), 0);
  EXPECT_EQ(read(digest, layer.size(), {0, 5}).error().code, Errc::kInvalid);
}

TEST_F(OciLayout, DirectoriesThatAreNoLayoutAreNamed) {
  write("oci-layout", R"({"imageLayoutVersion":"2.0.0"})");
  EXPECT_EQ(resolve(":v1").error().code, Errc::kInvalid);
  fs::remove(directory + "/oci-layout");
  const auto no_marker = resolve(":v1");
  ASSERT_FALSE(no_marker.ok());
  EXPECT_EQ(no_marker.error().code, Errc::kNotFound);
  EXPECT_NE(no_marker.error().context.find(directory), std::string::npos);
  write("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
  for (const std::string text : {"", "[]", R"({"manifests":7})", R"({"layers":[]})"}) {
    write("index.json", text);
    EXPECT_EQ(resolve(":v1").error().code, Errc::kInvalid) << text;
  }
  write("index.json", std::string((4 << 20) + 1, ' '));
  EXPECT_EQ(resolve(":v1").error().code, Errc::kInvalid);
}

std::string descriptor_of(const std::string& bytes, const std::string& type) {
  return R"({"mediaType":")" + type + R"(","digest":")" + sha256(as_bytes(bytes)).to_string() +
         R"(","size":)" + std::to_string(bytes.size()) + "}";
}

// As oras writes them into index.json, and as tools copy the fallback tag out of a registry.
TEST_F(OciLayout, ReferrersAreFoundAndRead) {
  const std::string type = "application/vnd.example.profile";
  const Digest subject = sha256(as_bytes(manifest));
  const auto artifact = [&](const std::string& bytes, const std::string& refers_to) {
    put(bytes);
    return R"({"schemaVersion":2,"artifactType":")" + type + R"(","config":)" + put("{}") +
           R"(,"layers":[)" + descriptor_of(bytes, type) + R"(],"subject":)" +
           descriptor_of(refers_to, "") + "}";
  };
  const auto dated = [&](const std::string& document, const std::string& created) {
    return put(document, R"(,"artifactType":")" + type +
                             R"(","annotations":{"org.opencontainers.image.created":")" + created +
                             "\"}");
  };
  const auto list = [&] { return loop.run(source()->referrers(subject, type)); };
  ASSERT_TRUE(list().ok()) << list().error().to_string();
  EXPECT_TRUE(list()->empty());
  const std::string other = dated(artifact("other's", "another manifest"), "2026-03-01T00:00:00Z");
  const std::string old = dated(artifact("old", manifest), "2026-01-01T00:00:00Z");
  const std::string fresh = dated(artifact("fresh", manifest), "2026-02-01T00:00:00Z");
  const std::string index = R"({"schemaVersion":2,"manifests":[)" + fresh + "," + old + "]}";
  write_index({tagged(manifest, "v1"), other, old, tagged(index, "sha256-" + subject.hex())});
  const auto found = list();
  ASSERT_TRUE(found.ok()) << found.error().to_string();
  ASSERT_EQ(found->size(), 2U);
  const auto read_text = [&](const Referrer& referrer, uint64_t max_bytes) -> std::string {
    const auto bytes = loop.run(source()->read_artifact(referrer, type, max_bytes));
    return bytes.ok() ? std::string(as_text(*bytes)) : bytes.error().to_string();
  };
  EXPECT_EQ(read_text((*found)[0], 5), "fresh");
  EXPECT_EQ(read_text((*found)[1], 3), "old");
  EXPECT_NE(read_text((*found)[0], 4).find("5 bytes, more than the 4 allowed"), std::string::npos);
  write(blob_name(sha256(as_bytes("old"))), "odd");
  EXPECT_NE(read_text((*found)[1], 3).find(directory), std::string::npos);
  const auto pushed = loop.run(source()->push_artifact(subject, {}));
  ASSERT_FALSE(pushed.ok());
  EXPECT_EQ(pushed.error().code, Errc::kUnsupported);
}

}  // namespace
}  // namespace dedup
