#include "io/http.h"

#include <gtest/gtest.h>

#include <semaphore>

#include "base/digest.h"
#include "unit/io/loop_thread.h"
#include "unit/io/raw_http_server.h"

namespace dedup {
namespace {

using std::chrono::milliseconds;
using test::LoopThread;
using test::RawConnection;
using test::RawHttpServer;
using test::RawRequest;

class Http : public ::testing::Test {
 protected:
  void SetUp() override { open({}); }
  void TearDown() override {
    loop.call([this] { client.reset(); });
  }
  void open(HttpOptions options) {
    loop.call([&] {
      client.reset();
      client = std::move(HttpClient::open(loop.ring(), options)).value();
    });
  }
  Result<HttpResponse> fetch(HttpRequest request, uint64_t max_bytes = 1 << 24) {
    return loop.run(client->fetch(std::move(request), Priority::kOnDemand, max_bytes));
  }
  Errc error_of(HttpRequest request) {
    const auto response = fetch(std::move(request));
    EXPECT_FALSE(response.ok());
    return response.ok() ? Errc::kExists : response.error().code;
  }
  HttpCounters counters() {
    HttpCounters copy;
    loop.call([&] { copy = client->counters(); });
    return copy;
  }

  LoopThread loop;
  std::unique_ptr<HttpClient> client;
};

HttpRequest get(std::string url) {
  HttpRequest request;
  request.url = std::move(url);
  return request;
}

TEST_F(Http, FetchGivesStatusHeadersAndBodyAndKeepsTheConnection) {
  RawHttpServer server([](const RawRequest& request, const RawConnection& out) {
    return out.answer("200 OK", "X-Seen: " + request.header("x-test") + "\r\n",
                      request.method + request.target + request.body);
  });
  auto request = get(server.url("/a?b=c"));
  request.headers = {"X-Test: yes"};
  for (int i = 0; i < 3; ++i) {
    const auto response = fetch(request);
    ASSERT_TRUE(response.ok()) << response.error().to_string();
    EXPECT_EQ(response->head.status, 200);
    EXPECT_EQ(response->head.header("x-seen"), "yes");
    EXPECT_EQ(response->head.content_length, 9U);
    EXPECT_EQ(as_text(response->body), "GET/a?b=c");
  }
  EXPECT_EQ(server.connections(), 1U);
  EXPECT_EQ(counters().requests, 3U);
  EXPECT_EQ(counters().body_bytes, 27U);
}

TEST_F(Http, PostSendsTheBodyAndHeadHasNone) {
  RawHttpServer server([](const RawRequest& request, const RawConnection& out) {
    if (request.method == "HEAD") return out.write("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
    return out.answer("201 Created", "", request.method + ":" + request.body);
  });
  auto request = get(server.url("/"));
  request.method = "POST";
  request.body = "x=1";
  EXPECT_EQ(as_text(fetch(request)->body), "POST:x=1");
  request = get(server.url("/"));
  request.method = "HEAD";
  const auto head = fetch(request);
  ASSERT_TRUE(head.ok());
  EXPECT_EQ(head->head.content_length, 7U);
  EXPECT_TRUE(head->body.empty());
}

TEST_F(Http, PutSendsLargeAndEmptyBodiesAndNoTypeOfItsOwn) {
  RawHttpServer server([](const RawRequest& request, const RawConnection& out) {
    return out.answer("201 Created", "",
                      request.method + ":" + request.header("content-type") + ":" +
                          request.header("expect") + ":" + request.header("content-length") + ":" +
                          sha256(as_bytes(request.body)).to_string());
  });
  auto request = get(server.url("/"));
  request.method = "PUT";
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{kMaxRequestBodyBytes}}) {
    request.body.assign(bytes, 'x');
    const auto response = fetch(request);
    ASSERT_TRUE(response.ok()) << response.error().to_string();
    EXPECT_EQ(as_text(response->body),
              "PUT:::" + std::to_string(bytes) + ":" + sha256(as_bytes(request.body)).to_string());
  }
  request.body = "x";
  request.headers = {"Content-Type: text/plain"};
  EXPECT_TRUE(as_text(fetch(request)->body).starts_with("PUT:text/plain:"));
  request.body.assign(kMaxRequestBodyBytes + 1, 'x');
  EXPECT_EQ(fetch(request).error().code, Errc::kInvalid);
  EXPECT_EQ(server.connections(), 1U);
}

// A body may carry a secret or a write: the redirect is the answer, and the caller's to judge.
TEST_F(Http, RedirectOfAPostIsNotFollowed) {
  std::atomic<int> followed{0};
  RawHttpServer server([&](const RawRequest& request, const RawConnection& out) {
    if (request.target != "/") ++followed;
    return out.answer("307 Temporary Redirect", "Location: /elsewhere\r\n", "moved");
  });
  for (const char* method : {"POST", "PUT"}) {
    auto request = get(server.url("/"));
    request.method = method;
    request.body = "secret";
    const auto response = fetch(request);
    ASSERT_TRUE(response.ok()) << response.error().to_string();
    EXPECT_EQ(response->head.status, 307);
    EXPECT_EQ(as_text(response->body), "moved");
  }
  EXPECT_EQ(followed, 0);
}

// The body as a whole takes longer than the limit, and no piece of it does.
TEST_F(Http, BodyThatIsTakenSlowlyIsNotAStall) {
  RawHttpServer server([](const RawRequest&, const RawConnection& out) {
    return out.answer("201 Created", "", "");
  });
  server.take_bodies_slowly(512 * 1024, milliseconds(50));
  auto request = get(server.url("/"));
  request.method = "PUT";
  request.body.assign(kMaxRequestBodyBytes, 'x');
  request.stall_timeout = milliseconds(1000);
  const auto start = std::chrono::steady_clock::now();
  const auto response = fetch(request);
  ASSERT_TRUE(response.ok()) << response.error().to_string();
  EXPECT_EQ(response->head.status, 201);
  EXPECT_GT(std::chrono::steady_clock::now() - start, milliseconds(1200));
}

TEST_F(Http, BodyThatNobodyTakesIsAStall) {
  RawHttpServer server([](const RawRequest&, const RawConnection& out) {
    return out.answer("201 Created", "", "");
  });
  server.take_bodies_slowly(1, milliseconds(60'000));
  auto request = get(server.url("/"));
  request.method = "PUT";
  request.body.assign(kMaxRequestBodyBytes, 'x');
  request.stall_timeout = milliseconds(300);
  const auto response = fetch(request);
  ASSERT_FALSE(response.ok());
  EXPECT_EQ(response.error().code, Errc::kUnavailable);
  EXPECT_NE(response.error().context.find("no byte for 300 ms"), std::string::npos)
      << response.error().context;
}

TEST_F(Http, RangeIsPrintedInclusive) {
  RawHttpServer server([](const RawRequest& request, const RawConnection& out) {
    return out.answer("206 Partial Content", "", request.header("range"));
  });
  auto request = get(server.url("/"));
  request.range = ByteRange{10, 5};
  EXPECT_EQ(as_text(fetch(request)->body), "bytes=10-14");
}

TEST_F(Http, RedirectToAnotherOriginLosesAuthorization) {
  RawHttpServer blobs([](const RawRequest& request, const RawConnection& out) {
    return out.answer("200 OK", "", "auth=" + request.header("authorization"));
  });
  RawHttpServer server([&](const RawRequest& request, const RawConnection& out) {
    if (request.target == "/here") {
      return out.answer("200 OK", "", "auth=" + request.header("authorization"));
    }
    const std::string to = request.target == "/self" ? "/here" : blobs.url("/b");
    return out.answer("307 Temporary Redirect", "Location: " + to + "\r\n", "moved");
  });
  auto request = get(server.url("/self"));
  request.headers = {"Authorization: Bearer secret"};
  EXPECT_EQ(as_text(fetch(request)->body), "auth=Bearer secret");
  request.url = server.url("/other");
  const auto response = fetch(request);
  EXPECT_EQ(as_text(response->body), "auth=");
  EXPECT_EQ(response->head.effective_url, blobs.url("/b"));
  EXPECT_EQ(counters().requests, 2U);
}

TEST_F(Http, RedirectLoopsAndOtherSchemesAreInvalid) {
  RawHttpServer server([&](const RawRequest& request, const RawConnection& out) {
    const std::string to = request.target == "/file" ? "file:///etc/hostname" : "/loop";
    return out.answer("302 Found", "Location: " + to + "\r\n", "");
  });
  EXPECT_EQ(error_of(get(server.url("/loop"))), Errc::kInvalid);
  EXPECT_EQ(error_of(get(server.url("/file"))), Errc::kInvalid);
  EXPECT_EQ(error_of(get("file:///etc/hostname")), Errc::kInvalid);
  EXPECT_EQ(error_of(get("http://")), Errc::kInvalid);
  EXPECT_EQ(error_of(get(server.url("/a\r\nX: y"))), Errc::kInvalid);
}

TEST_F(Http, RefusedConnectionAndCutBodyAreUnavailable) {
  std::string gone;
  {
    RawHttpServer closed([](const RawRequest&, const RawConnection&) { return false; });
    gone = closed.url("/");
  }
  EXPECT_EQ(error_of(get(gone)), Errc::kUnavailable);
  RawHttpServer server([](const RawRequest& request, const RawConnection& out) {
    if (request.target == "/length") {
      out.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
    } else if (request.target == "/chunked") {
      out.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n");
    }
    return false;
  });
  EXPECT_EQ(error_of(get(server.url("/length"))), Errc::kUnavailable);
  EXPECT_EQ(error_of(get(server.url("/chunked"))), Errc::kUnavailable);
  EXPECT_EQ(error_of(get(server.url("/nothing"))), Errc::kUnavailable);
  EXPECT_EQ(counters().failures, 4U);
}

TEST_F(Http, ErrorsDoNotShowSecretsOfTheUrl) {
  RawHttpServer server([](const RawRequest&, const RawConnection&) { return false; });
  const auto response = fetch(get("http://user:pass@" + server.host() + "/x?sig=hidden"));
  ASSERT_FALSE(response.ok());
  EXPECT_EQ(response.error().context.find("pass"), std::string::npos);
  EXPECT_EQ(response.error().context.find("hidden"), std::string::npos);
  EXPECT_NE(response.error().context.find(server.host() + "/x"), std::string::npos);
}

TEST_F(Http, HangingBeforeHeadOrInBodyIsAStall) {
  RawHttpServer server([](const RawRequest& request, const RawConnection& out) {
    if (request.target == "/body") out.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    out.hang();
    return false;
  });
  for (const char* target : {"/head", "/body"}) {
    auto request = get(server.url(target));
    request.stall_timeout = milliseconds(150);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(error_of(request), Errc::kUnavailable);
    const auto waited = std::chrono::steady_clock::now() - start;
    EXPECT_GE(waited, milliseconds(150));
    EXPECT_LT(waited, milliseconds(10'000));
  }
}

Task<uint64_t> drain(HttpStream& stream) {
  uint64_t bytes = 0;
  for (;;) {
    const auto piece = co_await stream.read_some();
    if (!piece.ok()) co_return UINT64_MAX;
    if (piece->empty()) co_return bytes;
    bytes += piece->size();
  }
}

Task<void> sleep_for(Ring& ring, milliseconds duration) {
  co_await ring.sleep(duration);
}

TEST_F(Http, SlowReaderHoldsTheServerBackAndDoesNotCountAsAStall) {
  constexpr size_t kBytes = size_t{64} << 20;
  std::atomic<size_t> written{0};
  RawHttpServer server([&](const RawRequest&, const RawConnection& out) {
    out.write("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kBytes) + "\r\n\r\n");
    const std::string piece(1 << 16, 'x');
    for (size_t at = 0; at < kBytes && out.write(piece); at += piece.size()) {
      written += piece.size();
    }
    return true;
  });
  auto request = get(server.url("/"));
  request.stall_timeout = milliseconds(100);
  auto stream = loop.run(client->open(request, Priority::kBackground));
  ASSERT_TRUE(stream.ok());
  loop.run(sleep_for(loop.ring(), milliseconds(400)));
  EXPECT_LT(written, kBytes / 2);
  EXPECT_LE(counters().body_bytes, size_t{2} << 20);
  EXPECT_EQ(loop.run(drain(**stream)), kBytes);
  loop.call([&] { stream->reset(); });
}

Task<Result<HttpResponse>> fetch_cancelled(Ring& ring, HttpClient& client, HttpRequest request) {
  CancelSource cancel;
  TaskScope scope;
  scope.spawn([](Ring& on, CancelSource& source) -> Task<void> {
    co_await on.sleep(milliseconds(50));
    source.cancel();
  }(ring, cancel));
  auto response =
      co_await client.fetch(std::move(request), Priority::kOnDemand, 1 << 20, cancel.token());
  co_await scope.join();
  co_return response;
}

TEST_F(Http, CancelEndsAWaitingRequestAndARunningBody) {
  RawHttpServer server([](const RawRequest& request, const RawConnection& out) {
    if (request.target == "/body") out.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    out.hang();
    return false;
  });
  for (const char* target : {"/head", "/body"}) {
    const auto response = loop.run(fetch_cancelled(loop.ring(), *client, get(server.url(target))));
    ASSERT_FALSE(response.ok());
    EXPECT_EQ(response.error().code, Errc::kCancelled);
  }
}

TEST_F(Http, CancelEndsARequestThatWaitsForASlot) {
  RawHttpServer server([](const RawRequest&, const RawConnection& out) {
    out.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    out.hang();
    return false;
  });
  open({.max_connections_per_host = 1, .max_transfers = 1});
  auto holder = loop.run(client->open(get(server.url("/")), Priority::kOnDemand));
  ASSERT_TRUE(holder.ok());
  const auto response = loop.run(fetch_cancelled(loop.ring(), *client, get(server.url("/"))));
  ASSERT_FALSE(response.ok());
  EXPECT_EQ(response.error().code, Errc::kCancelled);
  loop.call([&] { holder->reset(); });
}

TEST_F(Http, DestroyingAStreamEndsItsConnection) {
  std::binary_semaphore ended{0};
  RawHttpServer server([&](const RawRequest&, const RawConnection& out) {
    out.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    out.hang();
    ended.release();
    return false;
  });
  auto stream = loop.run(client->open(get(server.url("/")), Priority::kOnDemand));
  ASSERT_TRUE(stream.ok());
  loop.call([&] { stream->reset(); });
  EXPECT_TRUE(ended.try_acquire_for(std::chrono::seconds(10)));
}

TEST_F(Http, BlockedReadersFindASlotWhileBackgroundStreamsHoldTheOthers) {
  RawHttpServer server([&](const RawRequest& request, const RawConnection& out) {
    if (request.target == "/fast") return out.answer("200 OK", "", "fast");
    out.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    out.hang();
    return false;
  });
  open({.max_connections_per_host = 4, .max_transfers = 4});
  std::vector<std::unique_ptr<HttpStream>> held;
  for (int i = 0; i < 3; ++i) {
    auto stream = loop.run(client->open(get(server.url("/slow")), Priority::kBackground));
    ASSERT_TRUE(stream.ok());
    held.push_back(std::move(*stream));
  }
  const auto waits = loop.run(fetch_cancelled(loop.ring(), *client, get(server.url("/fast"))));
  ASSERT_TRUE(waits.ok());
  EXPECT_EQ(as_text(waits->body), "fast");
  loop.call([&] { held.clear(); });
}

Task<void> fetch_one(HttpClient& client, std::string url, int* good) {
  const auto response = co_await client.fetch(get(url), Priority::kPrefetch, 1 << 20);
  if (response.ok() && response->head.status == 200) ++*good;
}

Task<int> fetch_many(HttpClient& client, std::string url, int count) {
  int good = 0;
  TaskScope scope;
  for (int i = 0; i < count; ++i) scope.spawn(fetch_one(client, url, &good));
  co_await scope.join();
  co_return good;
}

TEST_F(Http, ManyRequestsStayWithinTheConnectionsAllowed) {
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  RawHttpServer server([&](const RawRequest&, const RawConnection& out) {
    const int now = ++running;
    if (now > most) most = now;
    std::this_thread::sleep_for(milliseconds(2));
    --running;
    return out.answer("200 OK", "", std::string(1000, 'x'));
  });
  open({.max_connections_per_host = 4, .max_transfers = 32});
  EXPECT_EQ(loop.run(fetch_many(*client, server.url("/"), 100)), 100);
  EXPECT_LE(most, 4);
  EXPECT_LE(server.connections(), 8U);
}

TEST_F(Http, OversizedAndEndlessAnswersAreRefused) {
  RawHttpServer server([](const RawRequest& request, const RawConnection& out) {
    if (request.target == "/large") return out.answer("200 OK", "", std::string(2000, 'x'));
    out.write("HTTP/1.1 200 OK\r\n");
    while (out.write("X-Filler: " + std::string(1000, 'h') + "\r\n")) {
    }
    return false;
  });
  const auto large = fetch(get(server.url("/large")), 1999);
  ASSERT_FALSE(large.ok());
  EXPECT_EQ(large.error().code, Errc::kInvalid);
  EXPECT_TRUE(fetch(get(server.url("/large")), 2000).ok());
  EXPECT_FALSE(fetch(get(server.url("/headers"))).ok());
}

}  // namespace
}  // namespace dedup
