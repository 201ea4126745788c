#include "api/request_body.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/server.h"

namespace dedup {
namespace {

using testing::HasSubstr;

TEST(RequestBody, AcceptsAnObjectAndNothing) {
  EXPECT_EQ(parse_body("")->dump(), "{}");
  EXPECT_EQ(parse_body("{\"ref\": \"a\"}")->dump(), "{\"ref\":\"a\"}");
}

TEST(RequestBody, RefusesWhatIsNoObject) {
  for (const char* text : {"[]", "null", "1", "\"x\"", "{", "{}{}", "{\"a\":}", "\xff", "nul"}) {
    const auto body = parse_body(text);
    ASSERT_FALSE(body.ok()) << text;
    EXPECT_EQ(body.error().code, Errc::kInvalid);
    EXPECT_THAT(body.error().to_string(), HasSubstr("the request body")) << text;
  }
}

TEST(RequestBody, RefusesDepthThatWouldOverflowTheStack) {
  const std::string deep = "{\"a\":" + std::string(500'000, '[');
  const auto body = parse_body(deep);
  ASSERT_FALSE(body.ok());
  EXPECT_THAT(body.error().to_string(), HasSubstr("nested deeper than 32"));
  // Brackets inside strings are text.
  EXPECT_TRUE(parse_body("{\"a\":\"" + std::string(100, '[') + "\\\"" + "[\"}").ok());
}

TEST(RequestBody, PrintsBytesThatAreNotUtf8) {
  EXPECT_EQ(dump_json({{"path", "a\xff"}}), "{\"path\":\"a\xEF\xBF\xBD\"}");
}

TEST(ErrorJson, RoundTripsEveryCode) {
  for (const Errc code :
       {Errc::kNotFound, Errc::kExists, Errc::kInvalid, Errc::kCorruption, Errc::kDenied,
        Errc::kUnavailable, Errc::kNoSpace, Errc::kUnsupported, Errc::kCancelled, Errc::kIo}) {
    const Error back = error_from_json(error_json(make_error(code, "why")));
    EXPECT_EQ(back.code, code);
    EXPECT_EQ(back.to_string(), "why");
    EXPECT_GE(http_status(code), 400);
  }
  EXPECT_EQ(http_status(Errc::kInvalid), 400);
  EXPECT_EQ(http_status(Errc::kNoSpace), 507);
  EXPECT_EQ(http_status(Errc::kCorruption), 422);
  EXPECT_EQ(error_from_json(nlohmann::json::array()).code, Errc::kIo);
  EXPECT_EQ(error_from_json({{"error", "text"}}).code, Errc::kIo);
}

}  // namespace
}  // namespace dedup
