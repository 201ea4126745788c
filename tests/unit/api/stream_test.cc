#include <atomic>

#include "api/line_queue.h"
#include "api_fixture.h"

namespace dedup {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

using ApiStreamTest = ApiFixture;

struct Counting {
  Ring* ring;
  int steps;
  std::chrono::milliseconds pause;
  std::atomic<int>* reported;
};

Task<Result<json>> count(Counting plan, ApiRequest request, ApiProgress progress) {
  for (int i = 0; i < plan.steps; ++i) {
    progress({{"step", i}, {"padding", std::string(1000, 'p')}});
    ++*plan.reported;
    if (plan.pause.count() > 0) co_await plan.ring->sleep(plan.pause);
  }
  if (request.body.contains("fail")) co_return make_error(Errc::kCorruption, "layer is wrong");
  co_return json{{"steps", plan.steps}};
}

// A streaming route that reports 0 .. steps-1, one report per `pause`.
ApiRoute counting(Ring& ring, int steps, std::chrono::milliseconds pause,
                  std::atomic<int>* reported) {
  const Counting plan{&ring, steps, pause, reported};
  return {"POST", "/v1/count", true, [plan](ApiRequest request, ApiProgress progress) {
            return count(plan, std::move(request), std::move(progress));
          }};
}

constexpr std::chrono::milliseconds kNone{0};

TEST_F(ApiStreamTest, ProgressThenDone) {
  std::atomic<int> reported = 0;
  serve({counting(ring(), 20, std::chrono::milliseconds(2), &reported)});
  std::vector<int> seen;
  const auto answer = client().stream("/v1/count", json::object(), [&](const json& line) {
    seen.push_back(line["step"].get<int>());
  });
  ASSERT_TRUE(answer.ok()) << answer.error().to_string();
  EXPECT_EQ(*answer, (json{{"steps", 20}}));
  ASSERT_FALSE(seen.empty());
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST_F(ApiStreamTest, LastLineCarriesTheError) {
  std::atomic<int> reported = 0;
  serve({counting(ring(), 1, kNone, &reported)});
  const auto answer = client().stream("/v1/count", {{"fail", true}}, nullptr);
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, Errc::kCorruption);
  EXPECT_EQ(answer.error().to_string(), "layer is wrong");
}

TEST_F(ApiStreamTest, ABadRequestIsRefusedBeforeTheStream) {
  std::atomic<int> reported = 0;
  serve({counting(ring(), 1, kNone, &reported)});
  EXPECT_THAT(raw("POST /v1/count HTTP/1.1\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{"),
              AllOf(HasSubstr(" 400 "), HasSubstr("not JSON")));
  EXPECT_EQ(client().stream("/v1/nope", json::object(), nullptr).error().code, Errc::kNotFound);
  EXPECT_EQ(reported, 0);
}

TEST_F(ApiStreamTest, ASlowReaderNeverBlocksTheLoopAndGetsTheEnd) {
  std::atomic<int> reported = 0;
  serve({counting(ring(), 5000, kNone, &reported),
         {"GET", "/v1/quick", false,
          [](ApiRequest, ApiProgress) -> Task<Result<json>> { co_return json::object(); }}});
  bool first = true;
  int seen = 0;
  const auto answer = client().stream("/v1/count", json::object(), [&](const json&) {
    ++seen;
    if (!std::exchange(first, false)) return;
    // While this reader takes nothing, the handler runs to its end and others are served.
    EXPECT_TRUE(client().call("GET", "/v1/quick").ok());
    while (reported < 5000) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  });
  ASSERT_TRUE(answer.ok()) << answer.error().to_string();
  EXPECT_EQ((*answer)["steps"], 5000);
  EXPECT_LT(seen, 5000) << "5 MB of progress were kept in memory";
}

TEST_F(ApiStreamTest, AReaderThatGoesAwayDoesNotEndTheWork) {
  std::atomic<int> reported = 0;
  serve({counting(ring(), 50, std::chrono::milliseconds(10), &reported)});
  {
    auto fd = connect_unix(socket());
    ASSERT_TRUE(fd.ok());
    const std::string request = "POST /v1/count HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
    ASSERT_GT(::write(fd->get(), request.data(), request.size()), 0);
    while (reported < 3) std::this_thread::yield();
  }
  server.reset();  // waits for the handler
  EXPECT_EQ(reported, 50);
}

TEST_F(ApiStreamTest, ADaemonThatDiesIsNoSuccess) {
  auto listener = listen_unix(socket());
  ASSERT_TRUE(listener.ok());
  std::thread dying([&] {
    for (int i = 0; i < 2; ++i) {  // the first connection only asks whether someone listens
      UniqueFd fd(::accept(listener->get(), nullptr, nullptr));
      char buffer[4096];
      if (::read(fd.get(), buffer, sizeof(buffer)) <= 0) continue;
      const std::string part =
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
          "chunked\r\n\r\n17\r\n{\"event\":\"progress\"}\n\n\n";
      [[maybe_unused]] const auto n = ::write(fd.get(), part.data(), part.size());
    }
  });
  const auto answer = client().stream("/v1/count", json::object(), nullptr);
  dying.join();
  ASSERT_FALSE(answer.ok());
  EXPECT_TRUE(daemon_unreachable(answer.error()));
  EXPECT_THAT(answer.error().to_string(), HasSubstr("went away before it answered"));
}

TEST(LineQueue, DropsTheOldestProgressNeverTheEnd) {
  LineQueue lines;
  for (int i = 0; i < 100; ++i) lines.push(std::to_string(i));
  lines.finish("end");
  lines.push("late");
  std::vector<std::string> seen;
  for (auto line = lines.next(kNone); line; line = lines.next(kNone)) {
    seen.push_back(line->text);
    if (line->last) break;
  }
  ASSERT_EQ(seen.size(), LineQueue::kProgressLines + 1);
  EXPECT_EQ(seen.front(), "36");
  EXPECT_EQ(seen.back(), "end");
}

}  // namespace
}  // namespace dedup
