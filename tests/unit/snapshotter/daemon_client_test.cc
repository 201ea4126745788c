#include "snapshotter/daemon_client.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "unit/snapshotter/fake_daemon.h"
#include "unit/snapshotter/temp_dir.h"

namespace dedup {
namespace {

const RemoteLayer kLayer{.target = "T",
                         .ref = "host/name:tag",
                         .layer_digest = "sha256:" + std::string(64, 'a'),
                         .manifest_digest = "",
                         .layers = {}};

TEST(DaemonClient, SendsWhatTheProtocolNames) {
  const TempDir dir;
  FakeDaemon daemon(dir / "s", dir.path());
  const DaemonClient client(dir / "s");
  EXPECT_EQ(*client.add_layer(kLayer, "snapshot:1"), kLayer.layer_digest);
  const auto body = daemon.requests("/v1/layers").at(0);
  EXPECT_EQ(body["ref"], "host/name:tag");
  EXPECT_EQ(body["holder"], "snapshot:1");
  EXPECT_FALSE(body.contains("manifest_digest"));

  const Lower lower{.layers = {kLayer.layer_digest}, .keep_whiteouts = true, .path = {}};
  EXPECT_TRUE(client.mount_chain(lower, "snapshot:2/mounts")->starts_with(dir.path()));
  EXPECT_EQ(daemon.requests("/v1/chains").at(0)["keep_whiteouts"], true);

  EXPECT_EQ(*client.holders("snapshot:"),
            (std::vector<std::string>{"snapshot:1", "snapshot:2/mounts"}));
  EXPECT_TRUE(client.release("snapshot:2/mounts").ok());
  EXPECT_EQ(daemon.holders(), std::set<std::string>{"snapshot:1"});
}

TEST(DaemonClient, PassesTheDaemonsErrorsOn) {
  const TempDir dir;
  FakeDaemon daemon(dir / "s", dir.path());
  const DaemonClient client(dir / "s");
  daemon.refuse("/v1/layers", {422, "corruption"});
  EXPECT_EQ(client.add_layer(kLayer, "snapshot:1").error().code, Errc::kCorruption);
  daemon.refuse("/v1/layers", {503, "unavailable"});
  EXPECT_EQ(client.add_layer(kLayer, "snapshot:1").error().code, Errc::kUnavailable);
}

TEST(DaemonClient, AMissingDaemonIsUnavailable) {
  const TempDir dir;
  const DaemonClient client(dir / "s");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(client.add_layer(kLayer, "snapshot:1").error().code, Errc::kUnavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5))
      << "a daemon that is not installed must not cost every layer half a minute";
}

// A socket nobody accepts on, as a daemon leaves it that was killed.
void leave_socket(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ::close(fd);
}

TEST(DaemonClient, WaitsForARestart) {
  const TempDir dir;
  leave_socket(dir / "s");
  std::unique_ptr<FakeDaemon> daemon;
  std::thread restart([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    ::unlink((dir / "s").c_str());
    daemon = std::make_unique<FakeDaemon>(dir / "s", dir.path());
  });
  const auto answer = DaemonClient(dir / "s").add_layer(kLayer, "snapshot:1");
  restart.join();
  EXPECT_TRUE(answer.ok()) << answer.error().to_string();
}

// Ten layers of an image must not wait ten times for a daemon that crashed for good.
TEST(DaemonClient, WaitsInVainOnlyOnce) {
  const TempDir dir;
  leave_socket(dir / "s");
  const DaemonClient client(dir / "s", std::chrono::milliseconds(400));
  const auto elapsed = [&client] {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(client.add_layer(kLayer, "snapshot:1").error().code, Errc::kUnavailable);
    return std::chrono::steady_clock::now() - start;
  };
  EXPECT_GE(elapsed(), std::chrono::milliseconds(300));
  EXPECT_LT(elapsed(), std::chrono::milliseconds(300));
  ::unlink((dir / "s").c_str());
  {
    FakeDaemon daemon(dir / "s", dir.path());
    EXPECT_TRUE(client.holders("").ok());
  }
  leave_socket(dir / "s");
  EXPECT_GE(elapsed(), std::chrono::milliseconds(300)) << "it answered meanwhile: patience again";
}

}  // namespace
}  // namespace dedup
