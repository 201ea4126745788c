#include "cli/profile_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "cli/html.h"
#include "trace/profile_report.h"
#include "unit/trace/profiles.h"

namespace dedup {
namespace {

using test::fetched;
using test::profile_with;
using test::touched;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

Profile sample_trace() {
  Profile trace = profile_with({touched(0, "/lib/libc.so", {0, 65536}, 10),
                                touched(1, "/usr/bin/python3", {0, 131072}, 20'000),
                                touched(1, "/app/app.py", {0, 900}, 90'000),
                                touched(1, "/etc/present", {0, 10}, 95'000)});
  trace.container = "web-1";
  trace.started_s = 1'790'000'000;
  trace.prepared_us = 50'000;
  trace.fetches = {
      fetched(0, "/lib/libc.so", {0, 262144}, 30'000, FetchCause::kPrefetch),
      fetched(1, "/opt/never", {0, 5000}, 31'000, FetchCause::kPrefetch),
      fetched(1, "/usr/bin/python3", {0, 262144}, 100'000, FetchCause::kReader, 30'000),
      fetched(1, "/app/app.py", {0, 900}, 142'000, FetchCause::kPrefetch, 2'000),
      fetched(0, "/usr/share/rest", {0, 7777}, 900'000'000, FetchCause::kBackground)};
  return trace;
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// The numbers of a tile, as they stand in its <data> elements.
std::vector<uint64_t> tile(const std::string& page, const std::string& id) {
  const size_t begin = page.find("id=\"" + id + "\" style");
  if (begin == std::string::npos) return {};
  const std::string html = page.substr(begin, page.find("</div>", begin) - begin);
  const std::regex data("<data value=\"([0-9]+)\">");
  std::vector<uint64_t> numbers;
  for (std::sregex_iterator it(html.begin(), html.end(), data), end; it != end; ++it)
    numbers.push_back(std::stoull((*it)[1]));
  return numbers;
}

// Strokes of the marks of one kind.
size_t marks(const std::string& page, const std::string& kind) {
  const std::string files = page.substr(page.find("id=\"picture\""));
  const size_t begin = files.find("<path class=\"" + kind + "\"");
  if (begin == std::string::npos) return 0;
  const std::string element = files.substr(begin, files.find("/>", begin) - begin);
  return count_of(element, "M");
}

TEST(ProfilePage, TilesSayWhatTheReportSays) {
  const Profile trace = sample_trace();
  const ProfileReport report = report_of(trace);
  const std::string page = profile_page(trace);
  using Numbers = std::vector<uint64_t>;
  EXPECT_EQ(tile(page, "touched"), (Numbers{report.touched_bytes, 4, 4}));
  EXPECT_EQ(tile(page, "misses"), (Numbers{report.misses()}));
  EXPECT_EQ(report.misses(), 1u);
  EXPECT_EQ(tile(page, "reader"),
            (Numbers{report.by(FetchCause::kReader).bytes, 1, report.wait_us}));
  EXPECT_EQ(tile(page, "prefetch"), (Numbers{report.by(FetchCause::kPrefetch).bytes, 3}));
  EXPECT_EQ(tile(page, "vain"), (Numbers{report.vain_bytes(), report.vain_ranges}));
  EXPECT_EQ(tile(page, "background"), (Numbers{7777, 1}));
  EXPECT_EQ(tile(page, "span"), (Numbers{95'000}));
  EXPECT_THAT(page, HasSubstr("25.0 %</data>"));
}

TEST(ProfilePage, EachThingThatHappenedHasAMark) {
  const std::string page = profile_page(sample_trace());
  EXPECT_EQ(marks(page, "mark touch"), 4u);
  EXPECT_EQ(marks(page, "mark prefetch"), 2u);
  EXPECT_EQ(marks(page, "mark vain"), 1u);
  EXPECT_EQ(marks(page, "mark reader"), 1u);
  EXPECT_EQ(marks(page, "wait miss"), 1u);
  EXPECT_EQ(marks(page, "wait late"), 1u);
  EXPECT_EQ(marks(page, "lead"), 1u);             // libc; app.py came after its touch
  EXPECT_EQ(marks(page, "mark background"), 0u);  // long after the last touch
  EXPECT_THAT(page, HasSubstr("behind the right edge, until 15 min; it fetched 7.59 KiB in all"));
  EXPECT_EQ(count_of(page, "container starts</div>"), 2u);
}

TEST(ProfilePage, SaysWhereItComesFrom) {
  EXPECT_THAT(
      profile_page(sample_trace()),
      AllOf(HasSubstr("<h1>python3 app.py</h1>"), HasSubstr("<title>python3 app.py</title>"),
            HasSubstr(test::digest_of('1').to_string()), HasSubstr("<code>web-1</code>"),
            HasSubstr("2026-09-21 14:13:20 UTC")));
}

TEST(ProfilePage, TableListsFilesInOrder) {
  const std::string page = profile_page(sample_trace());
  const size_t libc = page.find("<td class=\"path\">/lib/libc.so</td>");
  const size_t never = page.find("<td class=\"path\">/opt/never</td>");
  ASSERT_NE(libc, std::string::npos);
  ASSERT_NE(never, std::string::npos);
  EXPECT_LT(libc, never);
  EXPECT_EQ(count_of(page, "<td class=\"path\">"), 5u);
  EXPECT_THAT(page, Not(HasSubstr("/usr/share/rest")));
  EXPECT_THAT(page, HasSubstr("the background fill fetched 1 file that was not touched"));
  EXPECT_THAT(page, HasSubstr("<td class=\"reader\" data-v=\"30000\">30.000</td>"));
}

// A plain profile has touches alone, a list neither times nor bytes.
TEST(ProfilePage, ShowsWhatThereIs) {
  const std::string plain = profile_page(profile_with({touched(0, "/a", {0, 10}, 5, 3)}, 3));
  EXPECT_EQ(marks(plain, "mark touch"), 1u);
  EXPECT_THAT(plain, AllOf(HasSubstr("Bytes over time"), HasSubstr("from the container's start"),
                           Not(HasSubstr("Prefetched")), Not(HasSubstr("container starts</div>"))));
  Profile list;
  list.source = ProfileSource::kList;
  list.entries = {{std::nullopt, "/a", {0, 0}, 0, 1}, {std::nullopt, "/b", {0, 0}, 1, 1}};
  const std::string listed = profile_page(list);
  EXPECT_EQ(marks(listed, "mark touch"), 2u);
  EXPECT_THAT(listed, AllOf(Not(HasSubstr("Bytes over time")), HasSubstr("positions instead"),
                            HasSubstr("Wanted")));
  EXPECT_THAT(profile_page(Profile()),
              AllOf(HasSubstr("<h1>access profile</h1>"), Not(HasSubstr("id=\"picture\""))));
}

TEST(ProfilePage, NamesStayText) {
  const std::string evil = "/a\"><script>alert(1)</script><b x='&amp;\x1b[2J\u202e";
  Profile trace = sample_trace();
  trace.entries[0].path = evil;
  trace.fetches[1].path = evil + "2";
  trace.entrypoint = {evil, "\xFF"};
  trace.container = evil;
  const std::string page = profile_page(trace);
  EXPECT_EQ(count_of(page, "<script"), 1u);
  EXPECT_THAT(page, AllOf(Not(HasSubstr("<b x")), Not(HasSubstr("\x1b")), Not(HasSubstr("\u202e")),
                          Not(HasSubstr("\xFF"))));
  EXPECT_GE(count_of(page, "/a&quot;&gt;&lt;script&gt;alert(1)"), 5u);
}

TEST(ProfilePage, ThousandsOfFilesStayAPicture) {
  Profile trace = sample_trace();
  trace.entries.clear();
  trace.fetches.clear();
  constexpr uint64_t kFiles = 20'000;
  for (uint64_t i = 0; i < kFiles; ++i) {
    const std::string path = "/f" + std::to_string(i);
    trace.entries.push_back(touched(i % 2, path, {0, 10}, i * 100));
    trace.fetches.push_back(fetched(i % 2, path, {0, 10}, i * 50, FetchCause::kPrefetch));
  }
  const std::string page = profile_page(trace);
  const std::string picture = page.substr(page.find("id=\"picture\""), page.find("id=\"files\""));
  const std::regex height("viewBox=\"0 0 1000 ([0-9.]+)\"");
  std::smatch found;
  ASSERT_TRUE(std::regex_search(picture, found, height));
  EXPECT_LT(std::stod(found[1]), 760);
  EXPECT_LT(page.find("id=\"files\""), 300'000u);
  EXPECT_EQ(count_of(page, "<td class=\"path\">"), kFiles);
}

// Read-around may bring hundreds of files that nobody wants.
TEST(ProfilePage, WhatWasNotTouchedDoesNotSqueezeWhatWas) {
  Profile trace = sample_trace();
  trace.fetches.clear();
  for (uint64_t i = 0; i < 3000; ++i)
    trace.fetches.push_back(
        fetched(0, "/n" + std::to_string(i), {0, 10}, i, FetchCause::kPrefetch));
  EXPECT_THAT(profile_page(trace), HasSubstr("data-touched=\"4\" data-row=\"17\""));
}

TEST(Html, Escapes) {
  EXPECT_EQ(escape_html("a<b>&\"'c"), "a&lt;b&gt;&amp;&quot;&#39;c");
  EXPECT_EQ(escape_html("\xC3\xA4\xF0\x9F\x90\xA7"), "\xC3\xA4\xF0\x9F\x90\xA7");
  const std::string bad = "\xEF\xBF\xBD";
  for (const std::string text : {"\x01", "\n", "\x7F", "\xC2\x85", "\u202e", "\u2066", "\u200f",
                                 "\uFFFE", "\xFF", "\x80", "\xC0"})
    EXPECT_EQ(escape_html(text), bad) << testing::PrintToString(text);
  EXPECT_EQ(escape_html(std::string_view("\0", 1)), bad);
  EXPECT_EQ(escape_html("\xE2\x82x"), bad + bad + "x");     // cut
  EXPECT_EQ(escape_html("\xC0\xAF"), bad + bad);            // overlong
  EXPECT_EQ(escape_html("\xED\xA0\x80"), bad + bad + bad);  // a surrogate
}

TEST(Html, HashesScriptsAsPoliciesDo) {
  EXPECT_EQ(script_hash(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
}

TEST(Html, Decimals) {
  EXPECT_EQ(decimal(0), "0");
  EXPECT_EQ(decimal(-0.001), "0");
  EXPECT_EQ(decimal(12.5), "12.5");
  EXPECT_EQ(decimal(100), "100");
  EXPECT_EQ(decimal(0.12345678, 6), "0.123457");
}

}  // namespace
}  // namespace dedup
