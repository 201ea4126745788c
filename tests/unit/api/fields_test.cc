#include "api/fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dedup {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kDigest = "sha256:" + std::string(64, 'a');

// What reading one field in one way says is wrong.
template <typename Read>
std::string problem(const json& fields, Read read) {
  Body body(fields);
  read(body);
  const auto outcome = body.outcome();
  return outcome.ok() ? "" : outcome.error().to_string();
}

TEST(Fields, AreReadAsTheirKinds) {
  const json fields{{"text", "a"}, {"flag", true}, {"digest", kDigest}, {"list", {kDigest}}};
  Body body(fields);
  EXPECT_EQ(body.text("text"), "a");
  EXPECT_EQ(body.optional_text("text"), "a");
  EXPECT_TRUE(body.flag("flag"));
  EXPECT_EQ(body.digest("digest").to_string(), kDigest);
  EXPECT_TRUE(body.optional_digest("digest").has_value());
  EXPECT_EQ(body.digests("list").size(), 1u);
  EXPECT_TRUE(body.outcome().ok());
}

TEST(Fields, ThatAreAbsentOrNullAreEmptyWhereTheyMayBe) {
  for (const json& fields : {json::object(), json{{"f", nullptr}}}) {
    Body body(fields);
    EXPECT_EQ(body.optional_text("f"), "");
    EXPECT_FALSE(body.flag("f"));
    EXPECT_FALSE(body.optional_digest("f").has_value());
    EXPECT_THAT(body.digests("f"), IsEmpty());
    EXPECT_TRUE(body.outcome().ok());
    body.text("f");
    EXPECT_FALSE(body.outcome().ok());
  }
}

TEST(Fields, ThatAreWrongAreNamed) {
  const json fields{
      {"n", 1}, {"empty", ""}, {"nul", std::string("a\0b", 3)}, {"list", {kDigest, 2}}};
  const auto text = [](const char* name) { return [name](Body& body) { body.text(name); }; };
  EXPECT_THAT(problem(fields, text("ref")), AllOf(HasSubstr("\"ref\""), HasSubstr("non-empty")));
  EXPECT_THAT(problem(fields, text("empty")), HasSubstr("non-empty"));
  EXPECT_THAT(problem(fields, text("n")), HasSubstr("string"));
  EXPECT_THAT(problem(fields, text("nul")), HasSubstr("NUL"));
  EXPECT_THAT(problem(fields, [](Body& body) { body.flag("n"); }), HasSubstr("true or false"));
  EXPECT_THAT(problem(fields, [](Body& body) { body.digest("empty"); }), HasSubstr("\"empty\""));
  EXPECT_THAT(problem(fields, [](Body& body) { body.digests("n"); }), HasSubstr("array"));
  EXPECT_THAT(problem(fields, [](Body& body) { body.digests("list"); }), HasSubstr("\"list\""));
}

TEST(Fields, TheFirstProblemIsTheAnswer) {
  const json fields{{"a", 1}, {"b", 2}};
  EXPECT_THAT(problem(fields, [](Body& body) { body.text("a"), body.text("b"); }),
              HasSubstr("\"a\""));
}

TEST(Fields, OfTheQuery) {
  ApiRequest request;
  request.query = {{"ref", "a"}, {"empty", ""}, {"nul", std::string("a\0b", 3)}};
  EXPECT_EQ(*query_value(request, "ref"), "a");
  EXPECT_THAT(query_value(request, "absent").error().to_string(), HasSubstr("\"absent\""));
  EXPECT_THAT(query_value(request, "empty").error().to_string(), HasSubstr("missing"));
  EXPECT_THAT(query_value(request, "nul").error().to_string(), HasSubstr("NUL"));
}

}  // namespace
}  // namespace dedup
