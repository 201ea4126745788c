// The pure parts of dedupctl; its command line is tested in tests/bats.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/answer.h"
#include "cli/names.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/table.h"

namespace dedup {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Names, LayoutDirectoriesBecomeAbsolute) {
  EXPECT_EQ(absolute_reference("oci:a:t", "/w"), "oci:/w/a:t");
  EXPECT_EQ(absolute_reference("oci:./a/", "/w"), "oci:/w/a");
  EXPECT_EQ(absolute_reference("oci:../a/:t", "/w/x"), "oci:/w/a:t");
  EXPECT_EQ(absolute_reference("oci:/a//b:t", "/w"), "oci:/a/b:t");
  EXPECT_EQ(absolute_reference("oci:/", "/w"), "oci:/");
  EXPECT_EQ(absolute_reference("oci:", "/w"), "oci:");
  EXPECT_EQ(absolute_reference("host/a/../b", "/w"), "host/a/../b");
}

TEST(Answer, FieldsOfAnotherTypeReadAsEmpty) {
  const json answer{{"a", {{"b", 7}}}, {"t", "x\033y"}, {"list", {"p", 1, "q"}}, {"neg", -1}};
  EXPECT_EQ(number_at(answer, "a.b"), 7u);
  EXPECT_EQ(number_at(answer, "a.c"), 0u);
  EXPECT_EQ(number_at(answer, "t.b"), 0u);
  EXPECT_EQ(number_at(answer, "neg"), 0u);
  EXPECT_EQ(text_at(answer, "t"), "x?y");
  EXPECT_EQ(text_at(answer, "a"), "");
  EXPECT_THAT(texts_at(answer, "list"), ElementsAre("p", "q"));
  EXPECT_TRUE(list_at(answer, "t").empty());
  EXPECT_FALSE(flag_at(json::array(), "x"));
}

// An older or newer daemon, or garbage, gives a text, never a crash.
TEST(Report, StandsAnswersItDoesNotKnow) {
  for (const json& answer : {json(), json::array(), json::object(),
                             json{{"images", {1, "x"}}, {"chains", {nullptr}}, {"bad", {2}}},
                             json{{"image", "text"}, {"images", "text"}}}) {
    EXPECT_FALSE(images_text(answer).empty());
    EXPECT_FALSE(pulled_text(answer, "pulled").empty());
    EXPECT_FALSE(status_text(answer).empty());
    EXPECT_FALSE(pool_text(answer).empty());
    EXPECT_FALSE(check_text(answer, false).empty());
  }
}

TEST(Report, Numbers) {
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(1000), "1,000");
  EXPECT_EQ(count_text(1234567), "1,234,567");
  EXPECT_EQ(duration_text(59), "59s");
  EXPECT_EQ(duration_text(3599), "59m 59s");
  EXPECT_EQ(duration_text(86399), "23h 59m");
  EXPECT_EQ(duration_text(90000), "1d 1h");
  EXPECT_EQ(short_digest("sha256:0123456789abcdef"), "0123456789ab");
  EXPECT_EQ(short_digest("x"), "x");
}

TEST(Table, AlignsWideCharactersByColumns) {
  Table table({{"A"}, {"N", Table::Align::kRight}, {"B"}});
  table.add({"\xc3\xa9", "10", "x"});
  table.add({"ab", "", "y"});
  EXPECT_EQ(table.to_string(), "A    N  B\n\xc3\xa9   10  x\nab   -  y\n");
}

ProgressBar bar(const std::string& name, const std::string& state, uint64_t done, uint64_t total) {
  return {name, state, done, total};
}

TEST(Progress, OneLinePerLayer) {
  const auto lines =
      progress_lines({bar("aaaaaaaaaaaa", "fetching", 5 << 20, 10 << 20),
                      bar("bbbbbbbbbbbb", "waiting", 0, 0), bar("cccccccccccc", "ready", 0, 0)},
                     200, 10);
  EXPECT_THAT(
      lines,
      ElementsAre("aaaaaaaaaaaa [############............]  50%  5.00 MiB / 10.0 MiB  fetching",
                  "bbbbbbbbbbbb [........................]   0%  0 B / 0 B  waiting",
                  "cccccccccccc [########################] 100%  0 B / 0 B  ready"));
}

TEST(Progress, FitsTheTerminal) {
  std::vector<ProgressBar> bars;
  for (int i = 0; i < 50; ++i) bars.push_back(bar("ready", "ready", 1, 1));
  for (int i = 0; i < 30; ++i) bars.push_back(bar("busy", "fetching", 2, 1));  // more than all
  for (int i = 0; i < 20; ++i) bars.push_back(bar("late", "waiting", 0, 1));
  const auto lines = progress_lines(bars, 40, 10);
  ASSERT_EQ(lines.size(), 10u);
  for (const std::string& line : lines) EXPECT_LE(line.size(), 40u);
  EXPECT_THAT(lines.front(), HasSubstr("busy"));
  EXPECT_THAT(lines.back(), HasSubstr("50 layers ready, 41 more to come"));
}

}  // namespace
}  // namespace dedup
