#include "source/auth.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "source/retry.h"
#include "unit/io/loop_thread.h"
#include "unit/io/raw_http_server.h"

namespace dedup {
namespace {

using std::chrono::milliseconds;
using test::LoopThread;
using test::RawConnection;
using test::RawHttpServer;
using test::RawRequest;
using test::Shared;

TEST(Challenges, OneHeaderMayHoldSeveral) {
  const auto found = parse_challenges(
      R"(Bearer realm="https://t.example/token",service="r.example",scope="repository:a/b:pull,push" , Basic Realm=plain)");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].scheme, "bearer");
  EXPECT_EQ(found[0].param("realm"), "https://t.example/token");
  EXPECT_EQ(found[0].param("scope"), "repository:a/b:pull,push");
  EXPECT_EQ(found[1].scheme, "basic");
  EXPECT_EQ(found[1].param("realm"), "plain");
}

TEST(Challenges, QuotesEscapesAndBadInput) {
  EXPECT_EQ(parse_challenges(R"(Basic realm="a \"b\" \\c")")[0].param("realm"), R"(a "b" \c)");
  EXPECT_EQ(parse_challenges("Negotiate").size(), 1U);
  EXPECT_TRUE(parse_challenges("").empty());
  EXPECT_TRUE(parse_challenges(" , ,").empty());
  EXPECT_TRUE(parse_challenges("=\"x\"").empty());
  EXPECT_TRUE(parse_challenges("realm=\"x\"").empty());
  EXPECT_EQ(parse_challenges("Bearer realm=\"unfinished").size(), 1U);
  EXPECT_EQ(parse_challenges("Bearer realm=\"unfinished")[0].param("realm"), "");
  EXPECT_EQ(parse_challenges("Bearer realm=\"\\").size(), 1U);
}

TEST(DockerConfigs, FindsCredentialsByHost) {
  const std::string auth = base64_encode("user:pa:ss");
  const auto config =
      DockerConfig::parse(R"({"auths":{"https://index.docker.io/v1/":{"auth":")" + auth +
                          R"("},"r.example:5000":{"username":"u","password":"p"},)"
                          R"("t.example":{"auth":")" +
                          auth +
                          R"(","identitytoken":"refresh"},"empty.example":{}},)"
                          R"("credHelpers":{"h.example":"ecr"},"credsStore":"desktop"})");
  ASSERT_TRUE(config.ok()) << config.error().to_string();
  EXPECT_EQ(config->find("docker.io")->password, "pa:ss");
  EXPECT_EQ(config->find("r.example:5000")->username, "u");
  EXPECT_EQ(config->find("t.example")->identity_token, "refresh");
  EXPECT_FALSE(config->find("r.example").has_value());
  EXPECT_FALSE(config->find("empty.example").has_value());
  EXPECT_EQ(config->helper_for("h.example"), "ecr");
  EXPECT_EQ(config->helper_for("other.example"), "desktop");
}

TEST(DockerConfigs, BadFilesAreErrorsWithoutSecrets) {
  for (const std::string text :
       {"", "[]", R"({"auths":[]})", R"({"auths":{"h":7}})", R"({"auths":{"h":{"auth":"***"}}})",
        R"({"auths":{"h":{"auth":"c2VjcmV0"}}})"}) {
    const auto config = DockerConfig::parse(text);
    ASSERT_FALSE(config.ok()) << text;
    EXPECT_EQ(config.error().context.find("c2VjcmV0"), std::string::npos);
    EXPECT_EQ(config.error().context.find("secret"), std::string::npos);
  }
  EXPECT_TRUE(DockerConfig::load("/nonexistent/config.json").ok());
}

TEST(Base64, RoundTrip) {
  for (const std::string text : {"", "a", "ab", "abc", "abcd", "user:p\xc3\xa4ss"}) {
    EXPECT_EQ(*base64_decode(base64_encode(text)), text);
  }
  EXPECT_EQ(*base64_decode("YWI"), "ab");  // padding left out
  for (const std::string text : {"====", "a===", "YW?="}) {
    EXPECT_FALSE(base64_decode(text).ok()) << text;
  }
}

TEST(Retry, RetryAfterIsSecondsOrADate) {
  EXPECT_EQ(parse_retry_after("120", 0), milliseconds(120'000));
  EXPECT_EQ(parse_retry_after("0", 0), milliseconds(0));
  EXPECT_EQ(parse_retry_after("-5", 0), milliseconds(0));
  EXPECT_EQ(parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40), milliseconds(60'000));
  EXPECT_EQ(parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 400), milliseconds(0));
  EXPECT_GT(parse_retry_after("99999999999999999999999", 0), milliseconds(1'000'000'000));
  EXPECT_FALSE(parse_retry_after("", 0).has_value());
  EXPECT_FALSE(parse_retry_after("soon", 0).has_value());
}

TEST(Retry, BackoffGrowsWithinItsLimits) {
  for (const uint32_t random : {0U, 511U, 1023U, UINT32_MAX}) {
    EXPECT_GE(backoff(milliseconds(200), 0, random), milliseconds(100));
    EXPECT_LE(backoff(milliseconds(200), 0, random), milliseconds(200));
    EXPECT_GE(backoff(milliseconds(200), 3, random), milliseconds(800));
    EXPECT_LE(backoff(milliseconds(200), 1000, random), milliseconds(30'000));
  }
}

// A token server and the RegistryAuth under test.
class Auth : public ::testing::Test {
 protected:
  void SetUp() override {
    loop.call([this] { http = std::move(HttpClient::open(loop.ring())).value(); });
    std::string pattern = (std::filesystem::temp_directory_path() / "authXXXXXX").string();
    directory = ::mkdtemp(pattern.data());
  }
  void TearDown() override {
    loop.call([this] {
      auth.reset();
      http.reset();
    });
    std::filesystem::remove_all(directory);
  }
  void write_config(const std::string& text) { std::ofstream(directory + "/config.json") << text; }
  void make_auth(const RawHttpServer& server, const std::string& base_url = "") {
    loop.call([&] {
      auth = std::make_unique<RegistryAuth>(
          loop.ring(), *http, log,
          RegistryAuth::Target{base_url.empty() ? server.url("") : base_url, "r.example",
                               "team/app", "", directory, milliseconds(5000)});
    });
  }
  HttpHead challenge(const std::string& value) {
    HttpHead head;
    head.status = 401;
    head.headers.emplace("www-authenticate", value);
    return head;
  }
  Result<void> answer(const std::string& value, const std::string& used = "") {
    return loop.run(auth->answer(challenge(value), used, Priority::kOnDemand));
  }
  std::string authorization() {
    auto value = loop.run(auth->authorization(Priority::kOnDemand));
    return value.ok() ? *value : "error: " + value.error().to_string();
  }

  UniqueFd null_fd{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  Log log{null_fd.get()};
  std::string directory;
  LoopThread loop;
  std::unique_ptr<HttpClient> http;
  std::unique_ptr<RegistryAuth> auth;
};

TEST_F(Auth, BearerTokenIsFetchedWithCredentialsAndRenewedWhenExpired) {
  std::atomic<int> tokens{0};
  Shared<RawRequest> seen;
  RawHttpServer server([&](const RawRequest& request, const RawConnection& out) {
    seen.set(request);
    return out.answer("200 OK", "",
                      R"({"token":"t)" + std::to_string(++tokens) + R"(","expires_in":1})");
  });
  write_config(R"({"auths":{"r.example":{"username":"u","password":"p"}}})");
  make_auth(server);
  EXPECT_EQ(authorization(), "");
  ASSERT_TRUE(answer("Bearer realm=\"" + server.url("/token?x=y") + "\",service=\"a b\"").ok());
  EXPECT_EQ(seen.get().target, "/token?x=y&service=a%20b&scope=repository%3Ateam%2Fapp%3Apull");
  EXPECT_EQ(seen.get().header("authorization"), "Basic " + base64_encode("u:p"));
  EXPECT_EQ(authorization(), "Bearer t1");
  std::this_thread::sleep_for(milliseconds(1000));
  EXPECT_EQ(authorization(), "Bearer t2");
}

TEST_F(Auth, IdentityTokenIsPostedAsRefreshToken) {
  Shared<RawRequest> seen;
  RawHttpServer server([&](const RawRequest& request, const RawConnection& out) {
    seen.set(request);
    return out.answer("200 OK", "", R"({"access_token":"at"})");
  });
  write_config(R"({"auths":{"r.example":{"identitytoken":"re/fresh"}}})");
  make_auth(server);
  ASSERT_TRUE(answer("Bearer realm=\"" + server.url("/token") + "\",scope=\"s\"").ok());
  EXPECT_EQ(seen.get().method, "POST");
  EXPECT_NE(seen.get().body.find("grant_type=refresh_token"), std::string::npos);
  EXPECT_NE(seen.get().body.find("refresh_token=re%2Ffresh"), std::string::npos);
  EXPECT_EQ(authorization(), "Bearer at");
}

Task<void> answer_one(RegistryAuth& auth, HttpHead head, int* good) {
  const auto result = co_await auth.answer(std::move(head), "", Priority::kOnDemand);
  if (result.ok()) ++*good;
}

Task<int> answer_many(RegistryAuth& auth, HttpHead head) {
  int good = 0;
  TaskScope scope;
  for (int i = 0; i < 20; ++i) scope.spawn(answer_one(auth, head, &good));
  co_await scope.join();
  co_return good;
}

TEST_F(Auth, ConcurrentChallengesShareOneTokenRequest) {
  std::atomic<int> requests{0};
  RawHttpServer server([&](const RawRequest&, const RawConnection& out) {
    ++requests;
    std::this_thread::sleep_for(milliseconds(30));
    return out.answer("200 OK", "", R"({"token":"t","expires_in":300})");
  });
  make_auth(server);
  EXPECT_EQ(loop.run(answer_many(*auth, challenge("Bearer realm=\"" + server.url("/") + "\""))),
            20);
  EXPECT_EQ(requests, 1);
  // A 401 to a request sent before the renewal asks for nothing.
  EXPECT_TRUE(answer("Bearer realm=\"" + server.url("/") + "\"", "Bearer old").ok());
  EXPECT_EQ(requests, 1);
}

TEST_F(Auth, BasicIsSentOnceAndARefusalIsDenied) {
  RawHttpServer server([](const RawRequest&, const RawConnection&) { return false; });
  make_auth(server);
  const auto missing = answer("Basic realm=\"x\"");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, Errc::kDenied);
  EXPECT_EQ(missing.error().context,
            "registry r.example wants credentials (401) for team/app: add "
            "them to " +
                directory + "/config.json");
  write_config(R"({"auths":{"r.example":{"username":"u","password":"secret"}}})");
  ASSERT_TRUE(answer("Basic realm=\"x\"").ok());
  const std::string sent = authorization();
  EXPECT_EQ(sent, "Basic " + base64_encode("u:secret"));
  const auto refused = answer("Basic realm=\"x\"", sent);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kDenied);
  EXPECT_EQ(refused.error().context.find("secret"), std::string::npos);
}

TEST_F(Auth, BadTokenServersGiveClearErrors) {
  Shared<std::string> status("401 Unauthorized"), body("{}");
  RawHttpServer server([&](const RawRequest&, const RawConnection& out) {
    return out.answer(status.get(), "", body.get());
  });
  make_auth(server);
  const std::string bearer = "Bearer realm=\"" + server.url("/token") + "\"";
  EXPECT_EQ(answer(bearer).error().code, Errc::kDenied);
  status.set("503 Busy");
  EXPECT_EQ(answer(bearer).error().code, Errc::kUnavailable);
  status.set("200 OK");
  for (const char* bad : {"", "[]", "{}", R"({"token":7})", R"({"token":"a\r\nX: y"})"}) {
    body.set(bad);
    const auto result = answer(bearer);
    ASSERT_FALSE(result.ok()) << bad;
    EXPECT_EQ(result.error().code, Errc::kInvalid);
  }
  EXPECT_EQ(answer("Negotiate").error().code, Errc::kDenied);
  EXPECT_EQ(answer("Bearer realm=\"ftp://x/\"").error().code, Errc::kDenied);
}

TEST_F(Auth, CredentialsOfATlsRegistryDoNotGoToAPlainTokenServer) {
  std::atomic<int> requests{0};
  RawHttpServer server([&](const RawRequest&, const RawConnection& out) {
    ++requests;
    return out.answer("200 OK", "", R"({"token":"t"})");
  });
  write_config(R"({"auths":{"r.example":{"username":"u","password":"p"}}})");
  make_auth(server, "https://r.example");
  EXPECT_EQ(answer("Bearer realm=\"" + server.url("/") + "\"").error().code, Errc::kDenied);
  EXPECT_EQ(requests, 0);
}

}  // namespace
}  // namespace dedup
