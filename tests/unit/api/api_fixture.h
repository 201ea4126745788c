// ApiFixture: an ApiServer with the test's routes on a socket in a temporary folder, its loop on a
// thread of its own.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "api/client.h"
#include "api/server.h"
#include "api/unix_socket.h"

namespace dedup {

class ApiFixture : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/dedup-api-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    x_directory = pattern;
    auto ring = Ring::open();
    ASSERT_TRUE(ring.ok()) << ring.error().to_string();
    x_ring = std::move(ring).value();
    x_loop = std::thread([this] { x_ring->run(); });
  }

  void TearDown() override {
    server.reset();
    x_ring->stop();
    x_loop.join();
    std::filesystem::remove_all(x_directory);
  }

  Ring& ring() { return *x_ring; }
  std::string socket() const { return x_directory + "/s.sock"; }

  void serve(std::vector<ApiRoute> routes) {
    auto opened = ApiServer::open(*x_ring, x_log, socket(), std::move(routes));
    ASSERT_TRUE(opened.ok()) << opened.error().to_string();
    server = std::move(opened).value();
  }

  ApiClient client(std::chrono::milliseconds retry = std::chrono::milliseconds(0)) const {
    return ApiClient({.socket = socket(), .retry_refused_for = retry});
  }

  // Sends `request` as it is and reads until the server closes.
  std::string raw(const std::string& request) const {
    auto fd = connect_unix(socket());
    if (!fd.ok()) return fd.error().to_string();
    if (::write(fd->get(), request.data(), request.size()) < 0) return "write failed";
    std::string answer;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(fd->get(), buffer, sizeof(buffer))) > 0;) {
      answer.append(buffer, static_cast<size_t>(n));
    }
    return answer;
  }

  std::unique_ptr<ApiServer> server;

 private:
  std::string x_directory;
  Log x_log{2, LogLevel::kError};
  std::unique_ptr<Ring> x_ring;
  std::thread x_loop;
};

}  // namespace dedup
