// Registry sources against a server that misbehaves in one way per test.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "source/source.h"
#include "unit/io/loop_thread.h"
#include "unit/source/misbehaving_registry.h"

namespace dedup {
namespace {

using std::chrono::milliseconds;
using test::LoopThread;
using test::MisbehavingRegistry;
using test::RawConnection;
using test::RawHttpServer;
using test::RawRequest;
using test::Shared;
using Answer = std::optional<bool>;

bool is_blob(const RawRequest& request) {
  return request.target.find("/blobs/") != std::string::npos;
}

Task<Result<Bytes>> read_all(BlobSource& source, Digest blob, uint64_t blob_bytes) {
  CO_TRY(stream, co_await source.open_stream(blob, blob_bytes, Priority::kBackground));
  Bytes all;
  for (;;) {
    CO_TRY(piece, co_await stream->read_some());
    if (piece.empty()) co_return all;
    all.insert(all.end(), piece.begin(), piece.end());
  }
}

class RegistrySource : public ::testing::Test {
 protected:
  void SetUp() override {
    loop.call([this] { http = std::move(HttpClient::open(loop.ring())).value(); });
    std::string pattern = (std::filesystem::temp_directory_path() / "registryXXXXXX").string();
    directory = ::mkdtemp(pattern.data());
    options.docker_config = directory;
    options.retry_base = milliseconds(1);
    options.max_retry_after = milliseconds(2000);
    options.stall_timeout = milliseconds(200);
    for (size_t i = 0; i < 300'000; ++i) layer += static_cast<char>(i * 7 + i / 251);
    manifest_digest = registry.add_image("v1", layer);
    blob = sha256(as_bytes(layer));
    make_source();
  }
  void TearDown() override {
    loop.call([this] {
      source.reset();
      http.reset();
    });
    std::filesystem::remove_all(directory);
  }
  void make_source() {
    reference = *Reference::parse(registry.host() + "/" + MisbehavingRegistry::kRepository + ":v1");
    loop.call(
        [this] { source = make_registry_source(loop.ring(), *http, log, options, reference); });
  }
  void log_in(const std::string& password = MisbehavingRegistry::kPassword) {
    std::ofstream(directory + "/config.json")
        << R"({"auths":{")" << registry.host() << R"(":{"username":")" << MisbehavingRegistry::kUser
        << R"(","password":")" << password << R"("}}})";
  }
  Result<Bytes> read(uint64_t offset, uint64_t length) {
    return loop.run(source->read(blob, layer.size(), {offset, length}, Priority::kOnDemand));
  }
  Result<Bytes> stream() { return loop.run(read_all(*source, blob, layer.size())); }
  Result<ResolvedImage> resolve(std::optional<Digest> hint = {}) {
    return loop.run(source->resolve(reference, hint, {"linux", "amd64", ""}));
  }
  void expect_reads(uint64_t offset, uint64_t length) {
    const auto bytes = read(offset, length);
    ASSERT_TRUE(bytes.ok()) << bytes.error().to_string();
    EXPECT_EQ(as_text(*bytes), std::string_view(layer).substr(offset, length));
  }
  void expect_streams() {
    const auto bytes = stream();
    ASSERT_TRUE(bytes.ok()) << bytes.error().to_string();
    EXPECT_EQ(as_text(*bytes), layer);
  }
  void expect_read_error(Errc code, const std::string& part) {
    const auto bytes = read(1000, 100);
    ASSERT_FALSE(bytes.ok());
    EXPECT_EQ(bytes.error().code, code) << bytes.error().context;
    EXPECT_NE(bytes.error().context.find(part), std::string::npos) << bytes.error().context;
    EXPECT_NE(bytes.error().context.find(registry.host()), std::string::npos)
        << bytes.error().context;
    EXPECT_EQ(bytes.error().context.find(MisbehavingRegistry::kPassword), std::string::npos);
  }

  std::string layer;
  Digest manifest_digest, blob;
  std::string directory;
  UniqueFd null_fd{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  Log log{null_fd.get()};
  SourceOptions options;
  MisbehavingRegistry registry;
  Reference reference;
  LoopThread loop;
  std::unique_ptr<HttpClient> http;
  std::unique_ptr<ImageSource> source;
};

TEST_F(RegistrySource, ResolvesReadsAndStreams) {
  const auto image = resolve();
  ASSERT_TRUE(image.ok()) << image.error().to_string();
  EXPECT_EQ(image->manifest_digest, manifest_digest);
  ASSERT_EQ(image->manifest.layers.size(), 1U);
  EXPECT_EQ(image->manifest.layers[0].digest, blob);
  EXPECT_EQ(image->config.diff_ids.size(), 1U);
  expect_reads(0, 10);
  expect_reads(1234, 100'000);
  expect_reads(0, layer.size());
  expect_reads(layer.size(), 0);
  expect_streams();
  EXPECT_EQ(read(layer.size() - 1, 2).error().code, Errc::kInvalid);
  EXPECT_EQ(read(UINT64_MAX, 2).error().code, Errc::kInvalid);
}

TEST_F(RegistrySource, IndexIsFollowedByPlatform) {
  const auto entry = [](const Digest& digest, const std::string& architecture) {
    return R"({"digest":")" + digest.to_string() + R"(","size":%,"platform":{"os":"linux",)" +
           R"("architecture":")" + architecture + R"("}})";
  };
  // Sizes are part of what is verified.
  const auto image = resolve();
  ASSERT_TRUE(image.ok());
  const auto size_of = [&](const std::string& name) {
    return std::to_string(
        loop.run(http->fetch({.method = "GET",
                              .url = registry.url("/v2/team/app/manifests/" + name),
                              .headers = {},
                              .body = "",
                              .range = {},
                              .ca_file = ""},
                             Priority::kOnDemand, 1 << 20))
            ->body.size());
  };
  const auto sized = [&](std::string text, const std::string& size) {
    return text.replace(text.find('%'), 1, size);
  };
  const std::string size = size_of(manifest_digest.to_string());
  const auto index_type = "application/vnd.oci.image.index.v1+json";
  const auto put_index = [&](const std::string& entries) {
    registry.add_manifest("v1", index_type, R"({"schemaVersion":2,"manifests":[)" + entries + "]}");
  };
  put_index(sized(entry(blob, "s390x"), "7") + "," + sized(entry(manifest_digest, "amd64"), size));
  const auto chosen = resolve();
  ASSERT_TRUE(chosen.ok()) << chosen.error().to_string();
  EXPECT_EQ(chosen->manifest_digest, manifest_digest);
  put_index(sized(entry(manifest_digest, "amd64"), "7"));
  EXPECT_EQ(resolve().error().code, Errc::kCorruption);
  put_index(sized(entry(blob, "s390x"), "7"));
  EXPECT_EQ(resolve().error().code, Errc::kNotFound);
}

TEST_F(RegistrySource, BasicAndBearerAuthenticate) {
  log_in();
  for (const auto kind : {MisbehavingRegistry::Auth::kBasic, MisbehavingRegistry::Auth::kBearer}) {
    registry.set_auth(kind);
    make_source();
    ASSERT_TRUE(resolve().ok()) << resolve().error().to_string();
    expect_reads(5, 5);
  }
  EXPECT_EQ(registry.seen("/token").size(), 1U);
}

TEST_F(RegistrySource, ExpiredTokenIsRenewedOnceInTheMiddle) {
  log_in();
  registry.set_auth(MisbehavingRegistry::Auth::kBearer);
  expect_reads(5, 5);
  registry.expire_tokens();
  expect_reads(50, 5);
  EXPECT_EQ(registry.seen("/token").size(), 2U);
}

TEST_F(RegistrySource, MissingOrWrongCredentialsAreDenied) {
  registry.set_auth(MisbehavingRegistry::Auth::kBearer);
  expect_read_error(Errc::kDenied, "wants credentials");
  log_in("wrong");
  expect_read_error(Errc::kDenied, "refused credentials");
  registry.set_auth(MisbehavingRegistry::Auth::kBasic);
  expect_read_error(Errc::kDenied, "refused credentials for team/app (401): add them to " +
                                       directory + "/config.json");
}

TEST_F(RegistrySource, StatusesMapToErrorsWithoutRetry) {
  const std::pair<std::string, Errc> cases[] = {{"403 Forbidden", Errc::kDenied},
                                                {"404 Not Found", Errc::kNotFound},
                                                {"416 Range Not Satisfiable", Errc::kInvalid},
                                                {"400 Bad Request", Errc::kInvalid},
                                                {"204 No Content", Errc::kInvalid}};
  for (const auto& [status, code] : cases) {
    const size_t before = registry.seen("/blobs/").size();
    registry.fail_next(1, "/blobs/", status);
    expect_read_error(code, "(" + status.substr(0, 3) + ")");
    EXPECT_EQ(registry.seen("/blobs/").size(), before + 1) << status;
  }
}

TEST_F(RegistrySource, ServerErrorsAreRetriedWithinTheLimit) {
  registry.fail_next(3, "/blobs/", "500 Internal Server Error");
  expect_reads(7, 100);
  registry.fail_next(4, "/blobs/", "503 Service Unavailable");
  expect_read_error(Errc::kUnavailable, "(503)");
  registry.fail_next(2, "/manifests/", "502 Bad Gateway");
  EXPECT_TRUE(resolve().ok());
}

TEST_F(RegistrySource, RetryAfterIsObeyedUpToItsLimit) {
  registry.fail_next(1, "/blobs/", "429 Too Many Requests", "Retry-After: 1\r\n");
  const auto start = std::chrono::steady_clock::now();
  expect_reads(7, 100);
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(1000));
  const size_t before = registry.seen("/blobs/").size();
  registry.fail_next(1, "/blobs/", "429 Too Many Requests", "Retry-After: 3600\r\n");
  expect_read_error(Errc::kUnavailable, "asks to wait 3600 s");
  EXPECT_EQ(registry.seen("/blobs/").size(), before + 1);
}

TEST_F(RegistrySource, HangingServerIsUnavailable) {
  options.retries = 1;
  make_source();
  registry.set_fault([](const RawRequest&, const RawConnection& out) -> Answer {
    out.hang();
    return false;
  });
  const auto start = std::chrono::steady_clock::now();
  expect_read_error(Errc::kUnavailable, "no byte for 200 ms");
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(10'000));
  EXPECT_EQ(registry.seen("/blobs/").size(), 2U);
}

// Each answer delivers 100 kB and is cut: the rest comes by ranges from where it stopped.
TEST_F(RegistrySource, CutBodiesAreContinuedByRange) {
  registry.set_fault([this](const RawRequest& request, const RawConnection& out) -> Answer {
    if (!is_blob(request)) return std::nullopt;
    unsigned long long first = 0;
    std::sscanf(request.header("range").c_str(), "bytes=%llu-", &first);
    const std::string total = std::to_string(layer.size());
    std::string head = request.header("range").empty() ? "HTTP/1.1 200 OK\r\n"
                                                       : "HTTP/1.1 206 Partial Content\r\n";
    if (!request.header("range").empty()) {
      head += "Content-Range: bytes " + std::to_string(first) + "-299999/" + total + "\r\n";
    }
    head += "Content-Length: " + std::to_string(layer.size() - first) + "\r\n\r\n";
    out.write(head + layer.substr(first, 100'000));
    return false;
  });
  expect_streams();
  const auto requests = registry.seen("/blobs/");
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_EQ(requests[1].header("range"), "bytes=100000-299999");
  EXPECT_EQ(requests[2].header("range"), "bytes=200000-299999");
  expect_reads(50'000, 250'000);
}

TEST_F(RegistrySource, BodyThatIsAlwaysCutAtOnceEndsWithAnError) {
  registry.set_fault([](const RawRequest& request, const RawConnection& out) -> Answer {
    if (!is_blob(request)) return std::nullopt;
    out.write("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
    return false;
  });
  expect_read_error(Errc::kUnavailable, blob.to_string());
  EXPECT_EQ(registry.seen("/blobs/").size(), 4U);
  EXPECT_FALSE(stream().ok());
}

TEST_F(RegistrySource, IgnoredRangeIsReadUpToItsEnd) {
  registry.set_fault([this](const RawRequest& request, const RawConnection& out) -> Answer {
    if (!is_blob(request)) return std::nullopt;
    return out.answer("200 OK", "", layer);
  });
  expect_reads(0, 10);
  expect_reads(200'000, 50'000);
  expect_reads(299'999, 1);
}

TEST_F(RegistrySource, ChunkedBodyWithoutLengthIsReadAndItsEndChecked) {
  std::atomic<size_t> send_bytes{layer.size()};
  registry.set_fault([&](const RawRequest& request, const RawConnection& out) -> Answer {
    if (!is_blob(request)) return std::nullopt;
    char size[32];
    std::snprintf(size, sizeof(size), "%zx\r\n", send_bytes.load());
    return out.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(size) +
                     layer.substr(0, send_bytes) + "\r\n0\r\n\r\n");
  });
  expect_streams();
  send_bytes = layer.size() - 1;  // complete as HTTP, short as a blob
  EXPECT_EQ(stream().error().code, Errc::kUnavailable);
}

TEST_F(RegistrySource, OtherRangeOrSizeThanAskedIsRefused) {
  Shared<std::string> shared_range("bytes 0-99/300000");
  registry.set_fault([&](const RawRequest& request, const RawConnection& out) -> Answer {
    if (!is_blob(request)) return std::nullopt;
    const std::string range = shared_range.get();
    return out.answer("206 Partial Content",
                      range.empty() ? "" : "Content-Range: " + range + "\r\n",
                      std::string(100, 'x'));
  });
  expect_read_error(Errc::kInvalid, "another range");
  for (const char* bad : {"", "bytes */300000", "bytes 1000-", "1000-1099/300000"}) {
    shared_range.set(bad);
    expect_read_error(Errc::kInvalid, "another range");
  }
  shared_range.set("bytes 1000-1099/300001");
  expect_read_error(Errc::kCorruption, "300001");
}

TEST_F(RegistrySource, RedirectToABlobStoreKeepsTheTokenHome) {
  log_in();
  registry.set_auth(MisbehavingRegistry::Auth::kBearer);
  std::atomic<int> leaks{0};
  std::atomic<bool> refuse{false};
  RawHttpServer store([&](const RawRequest& request, const RawConnection& out) {
    if (!request.header("authorization").empty()) ++leaks;
    if (refuse) {
      return out.answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"phish\"\r\n", "");
    }
    unsigned long long first = 0, last = 0;
    std::sscanf(request.header("range").c_str(), "bytes=%llu-%llu", &first, &last);
    return out.answer(
        "206 Partial Content",
        "Content-Range: " + request.header("range").replace(5, 1, " ") + "/300000\r\n",
        layer.substr(first, last - first + 1));
  });
  registry.set_fault([&](const RawRequest& request, const RawConnection& out) -> Answer {
    if (!is_blob(request) || request.header("authorization").empty()) return std::nullopt;
    return out.answer("307 Temporary Redirect",
                      "Location: " + store.url("/bucket?sig=hidden") + "\r\n", "");
  });
  expect_reads(1000, 5000);
  // A challenge of the store is not answered with the registry's credentials.
  refuse = true;
  expect_read_error(Errc::kDenied, store.host());
  EXPECT_EQ(read(0, 1).error().context.find("hidden"), std::string::npos);
  EXPECT_EQ(leaks, 0);
}

TEST_F(RegistrySource, RedirectLoopIsInvalid) {
  registry.set_fault([](const RawRequest& request, const RawConnection& out) -> Answer {
    return out.answer("302 Found", "Location: " + request.target + "\r\n", "");
  });
  expect_read_error(Errc::kInvalid, "redirects in a loop");
}

TEST_F(RegistrySource, WrongManifestDigestsAreCorruption) {
  EXPECT_TRUE(resolve(manifest_digest).ok());
  registry.set_fault([this](const RawRequest& request, const RawConnection& out) -> Answer {
    if (request.target.find("/manifests/") == std::string::npos) return std::nullopt;
    return out.answer("200 OK", "Docker-Content-Digest: " + manifest_digest.to_string() + "\r\n",
                      R"({"schemaVersion":2,"layers":[],"config":{}})");
  });
  for (const auto& hint : {std::optional<Digest>(), std::optional(manifest_digest)}) {
    const auto image = resolve(hint);
    ASSERT_FALSE(image.ok());
    EXPECT_EQ(image.error().code, Errc::kCorruption);
    EXPECT_NE(image.error().context.find(registry.host()), std::string::npos);
  }
}

TEST_F(RegistrySource, WrongConfigIsCorruptionAndOtherLayerCountInvalid) {
  registry.set_fault([&](const RawRequest& request, const RawConnection& out) -> Answer {
    if (!is_blob(request)) return std::nullopt;
    return out.answer("200 OK", "", "{}");
  });
  EXPECT_EQ(resolve().error().code, Errc::kCorruption);
  registry.set_fault({});
  const std::string config = R"({"architecture":"amd64","rootfs":{"diff_ids":[]}})";
  registry.add_manifest("v1", "application/vnd.oci.image.manifest.v1+json",
                        R"({"schemaVersion":2,"config":{"digest":")" +
                            registry.add_blob(config).to_string() + R"(","size":)" +
                            std::to_string(config.size()) + R"(},"layers":[{"digest":")" +
                            blob.to_string() + R"(","size":300000}]})");
  const auto image = resolve();
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.error().code, Errc::kInvalid);
}

TEST_F(RegistrySource, HugeManifestIsRefusedWithoutReadingIt) {
  for (const bool stated : {true, false}) {
    const auto sent = std::make_shared<std::atomic<size_t>>(0);  // the server may go on a while
    registry.set_fault([stated, sent](const RawRequest&, const RawConnection& out) -> Answer {
      out.write(stated ? "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"
                       : "HTTP/1.1 200 OK\r\n\r\n");
      const std::string piece(1 << 16, ' ');
      while (*sent < (size_t{1} << 30) && out.write(piece)) *sent += piece.size();
      return false;
    });
    const auto image = resolve();
    ASSERT_FALSE(image.ok());
    EXPECT_EQ(image.error().code, Errc::kInvalid);
    EXPECT_LT(*sent, size_t{64} << 20);
    registry.set_fault({});
  }
}

TEST_F(RegistrySource, MirrorIsAskedFirstAndItsFailureFallsBack) {
  MisbehavingRegistry mirror;
  mirror.add_blob(layer);
  options.hosts[registry.host()] = {
      .plain_http = true, .ca_file = "", .mirrors = {mirror.url("/")}};
  make_source();
  expect_reads(10, 10);
  EXPECT_EQ(registry.seen("").size(), 0U);
  ASSERT_EQ(mirror.seen("").size(), 1U);
  EXPECT_NE(mirror.seen("")[0].target.find("?ns=" + registry.host()), std::string::npos);
  mirror.set_fault([](const RawRequest&, const RawConnection&) -> Answer { return false; });
  for (int i = 0; i < 5; ++i) expect_reads(10, 10);
  EXPECT_EQ(registry.seen("").size(), 5U);
  EXPECT_LE(mirror.seen("").size(), 3U);  // it rests after its failure
}

}  // namespace
}  // namespace dedup
