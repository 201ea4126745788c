// The registry source against Debian's docker-registry, filled by skopeo: an independent server and
// an independent writer, over plain HTTP and over TLS with HTTP/2.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "source/source.h"
#include "unit/io/loop_thread.h"

namespace dedup {
namespace {

namespace fs = std::filesystem;
using test::LoopThread;

constexpr const char* kRegistry = "/usr/bin/docker-registry";
constexpr const char* kSkopeo = "/usr/bin/skopeo";
constexpr const char* kOpenssl = "/usr/bin/openssl";

pid_t start(const std::vector<std::string>& command, const std::string& output) {
  std::vector<char*> arguments;
  for (const auto& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child != 0) return child;
  const int fd = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::dup2(fd, 1);
  ::dup2(fd, 2);
  ::execv(arguments[0], arguments.data());
  ::_exit(127);
}

int run(const std::vector<std::string>& command, const std::string& output) {
  int status = 0;
  ::waitpid(start(command, output), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// A port nobody uses now; another process could take it before the registry does.
int free_port() {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(fd.get(), generic, length) != 0) return 0;
  ::getsockname(fd.get(), generic, &length);
  return ntohs(address.sin_port);
}

bool wait_for_port(int port) {
  for (int i = 0; i < 300; ++i) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
      return true;
    }
    ::usleep(50'000);
  }
  return false;
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

Task<Result<void>> read_beside_a_paused_stream(BlobSource& source, Digest blob,
                                               uint64_t blob_bytes) {
  CO_TRY(paused, co_await source.open_stream(blob, blob_bytes, Priority::kBackground));
  CO_TRY(first, co_await paused->read_some());
  for (int i = 0; i < 20; ++i) {
    CO_TRY(bytes,
           co_await source.read(blob, blob_bytes, {blob_bytes - 1000, 1000}, Priority::kOnDemand));
    if (bytes.size() != 1000) co_return make_error(Errc::kCorruption, "short read");
  }
  co_return Result<void>();
}

class DockerRegistry : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    for (const char* program : {kRegistry, kSkopeo, kOpenssl}) {
      if (::access(program, X_OK) != 0) GTEST_SKIP() << program << " is not installed";
    }
    std::string pattern = (fs::temp_directory_path() / "dockerregistryXXXXXX").string();
    directory = ::mkdtemp(pattern.data());
    output = directory + "/output";
    const bool tls = GetParam();
    if (tls) make_certificate();
    write_layout();
    const int port = free_port();
    host = "127.0.0.1:" + std::to_string(port);
    std::ofstream(directory + "/registry.yml")
        << "version: 0.1\nstorage: {filesystem: {rootdirectory: " << directory
        << "/storage}}\nhttp:\n  addr: " << host << "\n"
        << (tls ? "  tls: {certificate: " + directory + "/cert.pem, key: " + directory +
                      "/key.pem}\n"
                : "");
    registry = start({kRegistry, "serve", directory + "/registry.yml"}, output);
    ASSERT_TRUE(wait_for_port(port)) << "docker-registry does not listen";
    ASSERT_EQ(run({kSkopeo, "copy", "--insecure-policy", "--dest-tls-verify=false",
                   "oci:" + directory + "/layout:v1", "docker://" + host + "/team/app:v1"},
                  output),
              0)
        << std::ifstream(output).rdbuf();
    SourceOptions options;
    options.docker_config = directory;
    options.hosts[host] = {
        .plain_http = !tls, .ca_file = tls ? directory + "/cert.pem" : "", .mirrors = {}};
    reference = *Reference::parse(host + "/team/app:v1");
    loop.call([&] {
      http = std::move(HttpClient::open(loop.ring())).value();
      source = make_registry_source(loop.ring(), *http, log, options, reference);
    });
  }
  void TearDown() override {
    loop.call([this] {
      source.reset();
      http.reset();
    });
    if (registry > 0) {
      ::kill(registry, SIGTERM);
      ::waitpid(registry, nullptr, 0);
    }
    if (!directory.empty()) fs::remove_all(directory);
  }
  void make_certificate() {
    ASSERT_EQ(run({kOpenssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                   "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                   directory + "/key.pem", "-out", directory + "/cert.pem"},
                  output),
              0);
  }
  std::string put(const std::string& bytes, const std::string& type, const std::string& more = "") {
    const Digest digest = sha256(as_bytes(bytes));
    std::ofstream(directory + "/layout/blobs/sha256/" + digest.hex(), std::ios::binary) << bytes;
    return R"({"mediaType":")" + type + R"(","digest":")" + digest.to_string() + R"(","size":)" +
           std::to_string(bytes.size()) + more + "}";
  }
  void write_layout() {
    const std::string oci = "application/vnd.oci.image.";
    fs::create_directories(directory + "/layout/blobs/sha256");
    // Incompressible: what skopeo pushes stays larger than a stream's window and curl's buffers.
    std::minstd_rand random(1);
    for (size_t i = 0; i < (size_t{20} << 20); ++i) layer += static_cast<char>(random() >> 8);
    const std::string config =
        R"({"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[")" +
        sha256(as_bytes(layer)).to_string() + R"("]}})";
    const std::string manifest = R"({"schemaVersion":2,"mediaType":")" + oci +
                                 R"(manifest.v1+json","config":)" +
                                 put(config, oci + "config.v1+json") + R"(,"layers":[)" +
                                 put(layer, oci + "layer.v1.tar") + "]}";
    std::ofstream(directory + "/layout/index.json")
        << R"({"schemaVersion":2,"manifests":[)"
        << put(manifest, oci + "manifest.v1+json",
               R"(,"annotations":{"org.opencontainers.image.ref.name":"v1"})")
        << "]}";
    std::ofstream(directory + "/layout/oci-layout") << R"({"imageLayoutVersion":"1.0.0"})";
  }

  std::string directory, output, host, layer;
  pid_t registry = -1;
  UniqueFd null_fd{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  Log log{null_fd.get()};
  Reference reference;
  LoopThread loop;
  std::unique_ptr<HttpClient> http;
  std::unique_ptr<ImageSource> source;
};

TEST_P(DockerRegistry, ResolvesAndReadsWhatSkopeoPushed) {
  const auto image = loop.run(source->resolve(reference, {}, {"linux", "amd64", ""}));
  ASSERT_TRUE(image.ok()) << image.error().to_string();
  ASSERT_EQ(image->manifest.layers.size(), 1U);
  const Descriptor blob = image->manifest.layers[0];
  const auto all = loop.run(read_all(*source, blob.digest, blob.size));
  ASSERT_TRUE(all.ok()) << all.error().to_string();
  EXPECT_EQ(sha256(*all), blob.digest);
  // skopeo may compress what it pushes; the blob is compared with itself then.
  for (const ByteRange range : {ByteRange{0, 1}, ByteRange{1000, 5000},
                                ByteRange{blob.size - 10, 10}, ByteRange{0, blob.size}}) {
    const auto bytes = loop.run(source->read(blob.digest, blob.size, range, Priority::kOnDemand));
    ASSERT_TRUE(bytes.ok()) << bytes.error().to_string();
    EXPECT_TRUE(std::ranges::equal(*bytes, std::span(*all).subspan(range.offset, range.length)));
  }
  const auto absent =
      loop.run(source->read(sha256(as_bytes("absent")), 6, {0, 6}, Priority::kOnDemand));
  ASSERT_FALSE(absent.ok());
  EXPECT_EQ(absent.error().code, Errc::kNotFound);
  if (!GetParam()) return;
  std::stringstream log_text;
  log_text << std::ifstream(output).rdbuf();
  std::string line;
  bool http2 = false;
  while (std::getline(log_text, line)) {
    http2 = http2 ||
            (line.find("dedup-snapshotter") != line.npos && line.find("HTTP/2.0") != line.npos);
  }
  EXPECT_TRUE(http2) << "no HTTP/2 request of ours in the registry's log";
}

TEST_P(DockerRegistry, PausedStreamDoesNotHoldUpOtherReads) {
  const auto image = loop.run(source->resolve(reference, {}, {"linux", "amd64", ""}));
  ASSERT_TRUE(image.ok()) << image.error().to_string();
  const Descriptor blob = image->manifest.layers[0];
  const auto result = loop.run(read_beside_a_paused_stream(*source, blob.digest, blob.size));
  EXPECT_TRUE(result.ok()) << result.error().to_string();
}

// Version 2.8 has no referrers API: the list is kept under the fallback tag.
TEST_P(DockerRegistry, ArtifactsGoThereAndBack) {
  const std::string type = "application/vnd.dedup-snapshotter.profile.v1+json+zstd";
  const auto image = loop.run(source->resolve(reference, {}, {"linux", "amd64", ""}));
  ASSERT_TRUE(image.ok()) << image.error().to_string();
  const Digest subject = image->manifest_digest;
  const auto push = [&](const std::string& bytes, const std::string& artifact_type,
                        const std::string& entrypoint) {
    Artifact artifact{artifact_type, type, {}, {{kEntrypointAnnotation, entrypoint}}};
    artifact.blob.assign(as_bytes(bytes).begin(), as_bytes(bytes).end());
    const auto digest = loop.run(source->push_artifact(subject, artifact));
    EXPECT_TRUE(digest.ok()) << digest.error().to_string();
  };
  const auto listed = [&](const std::string& artifact_type) {
    auto list = loop.run(source->referrers(subject, artifact_type));
    EXPECT_TRUE(list.ok()) << list.error().to_string();
    return list.ok() ? *list : std::vector<Referrer>();
  };
  EXPECT_TRUE(listed(type).empty());
  push("foreign", "application/vnd.example.other", "");
  const std::string large = layer.substr(0, 10 << 20);
  push("first", type, "server");
  push(large, type, "server");
  push("of another command", type, "client");
  const auto list = listed(type);
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(listed("application/vnd.example.other").size(), 1U);
  const auto newest = loop.run(source->read_artifact(list[0], type, 100));
  ASSERT_TRUE(newest.ok()) << newest.error().to_string();
  EXPECT_EQ(as_text(*newest), "of another command");
  const auto replaced = loop.run(source->read_artifact(list[1], type, kMaxArtifactBytes));
  ASSERT_TRUE(replaced.ok()) << replaced.error().to_string();
  EXPECT_EQ(sha256(*replaced), sha256(as_bytes(large)));
  // An independent reader agrees that the artifact is one.
  const std::string inspected = directory + "/inspected";
  ASSERT_EQ(run({kSkopeo, "inspect", "--raw", "--tls-verify=false",
                 "docker://" + host + "/team/app@" + list[0].manifest.digest.to_string()},
                inspected),
            0);
  std::stringstream raw;
  raw << std::ifstream(inspected).rdbuf();
  EXPECT_EQ(sha256(as_bytes(raw.str())), list[0].manifest.digest);
  EXPECT_NE(raw.str().find(R"("artifactType":")" + type), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Transport, DockerRegistry, ::testing::Values(false, true),
                         [](const auto& param) { return param.param ? "Tls" : "Plain"; });

}  // namespace
}  // namespace dedup
