#include <atomic>

#include "api_fixture.h"

namespace dedup {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

Task<Result<json>> echo(ApiRequest request, ApiProgress) {
  co_return json{{"body", request.body}, {"query", request.query}};
}

Task<Result<json>> fail_as(ApiRequest request, ApiProgress) {
  co_return error_from_json({{"error", {{"code", request.body["code"]}, {"message", "it is so"}}}});
}

Task<Result<json>> sleep_a_while(Ring* ring, std::atomic<bool>* started, std::atomic<bool>* ended) {
  *started = true;
  co_await ring->sleep(std::chrono::milliseconds(300));
  *ended = true;
  co_return json{{"slow", true}};
}

std::vector<ApiRoute> routes() {
  return {{"POST", "/v1/echo", false, echo},
          {"GET", "/v1/echo", false, echo},
          {"DELETE", "/v1/echo", false, echo},
          {"POST", "/v1/fail", false, fail_as}};
}

using ApiServerTest = ApiFixture;

TEST_F(ApiServerTest, AnswersWithBodyAndDecodedQuery) {
  serve(routes());
  const std::string odd = "oci:/a dir/\xc3\xa9:t&g=1+%2F?#";
  const auto answer = client().call("POST", "/v1/echo", {{"ref", odd}}, {{"ref", odd}, {"b", ""}});
  ASSERT_TRUE(answer.ok()) << answer.error().to_string();
  EXPECT_EQ((*answer)["body"]["ref"], odd);
  EXPECT_EQ((*answer)["query"]["ref"], odd);
}

TEST_F(ApiServerTest, HandlersRunOnTheLoopThread) {
  std::atomic<bool> on_loop = false;
  serve({{"GET", "/v1/x", false, [&](ApiRequest request, ApiProgress progress) {
            on_loop = ring().on_loop_thread();
            return echo(std::move(request), std::move(progress));
          }}});
  ASSERT_TRUE(client().call("GET", "/v1/x").ok());
  EXPECT_TRUE(on_loop);
}

TEST_F(ApiServerTest, ErrorsKeepCodeAndSentence) {
  serve(routes());
  for (const Errc code :
       {Errc::kNotFound, Errc::kExists, Errc::kInvalid, Errc::kCorruption, Errc::kDenied,
        Errc::kUnavailable, Errc::kNoSpace, Errc::kUnsupported, Errc::kCancelled, Errc::kIo}) {
    const json name = error_json(make_error(code, ""))["error"]["code"];
    const auto answer = client().call("POST", "/v1/fail", {{"code", name}});
    ASSERT_FALSE(answer.ok());
    EXPECT_EQ(answer.error().code, code);
    EXPECT_EQ(answer.error().to_string(), "it is so");
    EXPECT_FALSE(daemon_unreachable(answer.error()));
  }
}

TEST_F(ApiServerTest, RefusesWhatItDoesNotKnow) {
  serve(routes());
  EXPECT_THAT(
      raw("GET /v1/nope HTTP/1.1\r\nConnection: close\r\n\r\n"),
      AllOf(HasSubstr(" 404 "), HasSubstr("unknown path /v1/nope"), HasSubstr("not_found")));
  EXPECT_THAT(raw("PUT /v1/echo HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
              AllOf(HasSubstr(" 405 "), HasSubstr("takes DELETE, GET, POST, not PUT")));
  // The path is no pattern.
  EXPECT_THAT(raw("GET /v1/echoX HTTP/1.1\r\nConnection: close\r\n\r\n"), HasSubstr(" 404 "));
  EXPECT_THAT(raw("garbage\r\n\r\n"), HasSubstr(" 400 "));
}

TEST_F(ApiServerTest, BadJsonIsAClearError) {
  serve(routes());
  EXPECT_THAT(
      raw("POST /v1/echo HTTP/1.1\r\nConnection: close\r\nContent-Length: 5\r\n\r\n{\"a\":"),
      AllOf(HasSubstr(" 400 "), HasSubstr("not JSON: error at byte 6")));
  EXPECT_THAT(raw("POST /v1/echo HTTP/1.1\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]"),
              AllOf(HasSubstr(" 400 "), HasSubstr("must be a JSON object")));
}

TEST_F(ApiServerTest, ABodyOverTheLimitIsRefused) {
  serve(routes());
  const auto answer = client().call("POST", "/v1/echo", {{"a", std::string(2 << 20, 'x')}});
  ASSERT_FALSE(answer.ok());
  EXPECT_THAT(answer.error().to_string(), HasSubstr("larger than 1048576 bytes"));
  EXPECT_TRUE(client().call("POST", "/v1/echo", {{"a", std::string(900'000, 'x')}}).ok());
}

TEST_F(ApiServerTest, ARequestWithoutLengthHasNoBody) {
  serve(routes());
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(raw("DELETE /v1/echo?a=b HTTP/1.1\r\nConnection: close\r\n\r\n"),
              AllOf(HasSubstr(" 200 "), HasSubstr("\"a\":\"b\"")));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST_F(ApiServerTest, TheSocketIsForItsOwnerOnly) {
  serve(routes());
  struct stat status {};
  ASSERT_EQ(::stat(socket().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(ApiServerTest, ReplacesAStaleSocketButNotALiveOneNorAFile) {
  { auto dead = listen_unix(socket()); }
  serve(routes());
  EXPECT_TRUE(client().call("GET", "/v1/echo").ok());
  Log log;
  const auto second = ApiServer::open(ring(), log, socket(), {});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Errc::kExists);
  server.reset();
  EXPECT_FALSE(std::filesystem::exists(socket()));
  std::filesystem::create_directory(socket());
  EXPECT_EQ(ApiServer::open(ring(), log, socket(), {}).error().code, Errc::kInvalid);
  EXPECT_EQ(ApiServer::open(ring(), log, std::string(200, 'x'), {}).error().code, Errc::kInvalid);
}

TEST_F(ApiServerTest, AThousandRequestsFromEightThreads) {
  serve(routes());
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([this, t, &good] {
      for (int i = 0; i < 125; ++i) {
        const auto answer = client().call("POST", "/v1/echo", {{"t", t}, {"i", i}});
        if (answer.ok() && (*answer)["body"] == json{{"t", t}, {"i", i}}) ++good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 1000);
}

TEST_F(ApiServerTest, StopWaitsForARunningHandler) {
  std::atomic<bool> started = false;
  std::atomic<bool> ended = false;
  serve({{"GET", "/v1/slow", false,
          [&](ApiRequest, ApiProgress) { return sleep_a_while(&ring(), &started, &ended); }}});
  Result<json> answer = json();
  std::thread caller([&] { answer = client().call("GET", "/v1/slow"); });
  while (!started) std::this_thread::yield();
  server.reset();
  EXPECT_TRUE(ended);
  caller.join();
  ASSERT_TRUE(answer.ok()) << answer.error().to_string();
  EXPECT_EQ((*answer)["slow"], true);
}

TEST_F(ApiServerTest, ClientSaysWhenNobodyAnswers) {
  const auto start = std::chrono::steady_clock::now();
  const auto missing = client(std::chrono::seconds(20)).call("GET", "/v1/status");
  ASSERT_FALSE(missing.ok());
  EXPECT_TRUE(daemon_unreachable(missing.error()));
  EXPECT_THAT(missing.error().to_string(),
              AllOf(HasSubstr("no dedupd answers on " + socket()), HasSubstr("--socket")));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  { auto dead = listen_unix(socket()); }
  EXPECT_TRUE(daemon_unreachable(client().call("GET", "/v1/status").error()));
}

TEST_F(ApiServerTest, ClientWaitsForARestartingWorker) {
  { auto dead = listen_unix(socket()); }
  Result<json> answer = json();
  std::thread caller([&] { answer = client(std::chrono::seconds(20)).call("GET", "/v1/echo"); });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  serve(routes());
  caller.join();
  EXPECT_TRUE(answer.ok()) << answer.error().to_string();
}

}  // namespace
}  // namespace dedup
