#include "cli/profile_page.h"

#include <array>
#include <ctime>

#include "cli/html.h"
#include "cli/page_table.h"
#include "cli/profile_picture.h"
#include "cli/profile_style.h"
#include "cli/report.h"
#include "cli/sizes.h"
#include "cli/trace_table.h"
#include "trace/profile_file.h"

namespace dedup {
namespace {

// The number itself goes with what people read of it.
std::string number(uint64_t value, const std::string& text) {
  return "<data value=\"" + std::to_string(value) + "\">" + text + "</data>";
}

std::string size(uint64_t bytes) {
  return number(bytes, rounded_size(bytes));
}

std::string count(uint64_t count, const std::string& noun, const std::string& plural = "") {
  const std::string many = plural.empty() ? noun + "s" : plural;
  return number(count, count_text(count)) + " " + (count == 1 ? noun : many);
}

std::string origin_item(const char* name, const std::string& html) {
  return std::string("<div><dt>") + name + "</dt><dd>" + html + "</dd></div>\n";
}

std::string date_text(uint64_t unix_s) {
  const auto time = static_cast<std::time_t>(unix_s);
  std::tm parts{};
  std::array<char, 64> text{};
  if (::gmtime_r(&time, &parts) == nullptr ||
      std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
    return count_text(unix_s) + " s";
  return text.data();
}

const char* source_text(ProfileSource source) {
  switch (source) {
    case ProfileSource::kTouches:
      return "recorded touches";
    case ProfileSource::kMisses:
      return "recorded page cache misses";
    case ProfileSource::kList:
      return "a list of paths";
  }
  return "";
}

std::string title_of(const Profile& profile) {
  std::string title;
  for (const std::string& word : profile.entrypoint) title += (title.empty() ? "" : " ") + word;
  if (title.size() > 160) title.resize(160);
  return title.empty() ? "access profile" : title;
}

std::string head(const Profile& profile) {
  std::string items;
  if (profile.image)
    items += origin_item("image", "<code>" + profile.image->to_string() + "</code>");
  if (!profile.container.empty())
    items += origin_item("container", "<code>" + escape_html(profile.container) + "</code>");
  if (profile.started_s != 0) items += origin_item("started", date_text(profile.started_s));
  items += origin_item("source", source_text(profile.source));
  if (!is_trace(profile))
    items += origin_item("runs", number(profile.runs, count_text(profile.runs)));
  items += origin_item("layers", count_text(profile.layers.size()));
  return "<header>\n<h1>" + escape_html(title_of(profile)) + "</h1>\n<dl class=\"origin\">\n" +
         items + "</dl>\n</header>\n";
}

// ---- tiles

std::string tile(const char* id, const char* color, const char* name, const std::string& value,
                 const std::string& about) {
  return std::string("<div class=\"tile\" id=\"") + id + "\" style=\"--c:var(--" + color +
         ")\"><span class=\"name\">" + name + "</span><b>" + value + "</b><span>" + about +
         "</span></div>\n";
}

std::string fetch_tiles(const Profile& profile, const ProfileReport& report) {
  const FetchTotals& reader = report.by(FetchCause::kReader);
  const FetchTotals& readahead = report.by(FetchCause::kReadahead);
  const FetchTotals& prefetch = report.by(FetchCause::kPrefetch);
  const FetchTotals& background = report.by(FetchCause::kBackground);
  std::string tiles =
      tile("misses", "reader", "Misses",
           "<data value=\"" + std::to_string(report.misses()) + "\">" +
               percent_text(report.misses(), profile.entries.size()) + "</data>",
           count_text(report.misses()) + " of " + count_text(profile.entries.size()) +
               " ranges had to be fetched for a reader") +
      tile("reader", "reader", "For readers", size(reader.bytes),
           count(reader.ranges, "range") + ", readers waited " +
               number(report.wait_us, time_text(report.wait_us)) + "; " +
               rounded_size(readahead.bytes) + " read along") +
      tile("prefetch", "prefetch", "Prefetched", size(prefetch.bytes),
           count(prefetch.ranges, "range") + " ahead of the container") +
      tile("vain", "vain", "In vain", size(report.vain_bytes()),
           percent_text(report.vain_bytes(), prefetch.bytes) + " of what was prefetched, " +
               count(report.vain_ranges, "range") + " wholly");
  if (background.ranges != 0)
    tiles += tile("background", "background", "Background fill", size(background.bytes),
                  count(background.ranges, "range"));
  return tiles;
}

std::string tiles(const Profile& profile, const ProfileReport& report) {
  uint64_t files = 0;
  for (const FileReport& file : report.files) files += file.first_us ? 1 : 0;
  std::string html = "<div class=\"tiles\">\n";
  if (profile.source == ProfileSource::kList)
    html +=
        tile("touched", "touch", "Wanted", count(files, "file"), "whole, in the order of a list");
  else
    html += tile("touched", "touch", "Touched", size(report.touched_bytes),
                 count(profile.entries.size(), "range") + " in " + count(files, "file"));
  if (!profile.fetches.empty()) html += fetch_tiles(profile, report);
  if (profile.source != ProfileSource::kList && !profile.entries.empty()) {
    const uint64_t last_us = profile.entries.back().first_us;
    html +=
        tile("span", "line", "Start to last touch", number(last_us, time_text(last_us)),
             is_trace(profile) ? "prepared " + time_text(profile.prepared_us) + " before the start"
                               : "of " + count(profile.runs, "run") + ", the median");
  }
  return html + "</div>\n";
}

// ---- legend

std::string legend_item(const std::string& svg, const char* text) {
  return "<span><svg viewBox=\"0 0 26 14\" aria-hidden=\"true\">" + svg + "</svg>" + text +
         "</span>\n";
}

std::string legend(const Profile& profile, const ProfileReport& report) {
  std::string html = "<div class=\"legend\">\n";
  if (!profile.layers.empty())
    html += legend_item(
        "<rect class=\"layer\" width=\"9\" height=\"14\" opacity=\".1\"/><rect class=\"layer\" "
        "x=\"8.5\" width=\"9\" height=\"14\" opacity=\".5\"/><rect class=\"layer\" x=\"17\" "
        "width=\"9\" height=\"14\" opacity=\".9\"/>",
        "layer, the bottom one faintest");
  html += legend_item("<path class=\"mark touch\" d=\"M13 2v10\"/>",
                      profile.source == ProfileSource::kList ? "wanted" : "first touched");
  if (profile.fetches.empty()) return html + "</div>\n";
  html += legend_item(
      "<path class=\"lead\" d=\"M5 7H22\"/><path class=\"mark prefetch\" d=\"M5 2v10\"/>"
      "<path class=\"mark touch\" d=\"M22 2v10\"/>",
      "prefetched, so long before its first touch");
  html += legend_item(
      "<path class=\"wait miss\" style=\"stroke-width:5px\" d=\"M3 7H21\"/><path class=\"mark "
      "reader\" "
      "d=\"M22 2v10\"/>",
      "a miss: fetched while a reader waited");
  html += legend_item(
      "<path class=\"wait late\" style=\"stroke-width:5px\" d=\"M3 7H21\"/><path class=\"mark "
      "prefetch\" "
      "d=\"M22 2v10\"/>",
      "prefetch was on its way, a reader waited for the rest");
  html += legend_item(
      "<rect class=\"vainband\" width=\"26\" height=\"14\"/><path class=\"mark vain\" d=\"M13 "
      "2v10\"/>",
      "prefetched in vain: not touched");
  if (report.by(FetchCause::kBackground).ranges + report.by(FetchCause::kReadahead).ranges != 0)
    html += legend_item("<path class=\"mark background\" d=\"M13 2v10\"/>",
                        "read along with a miss, or background fill");
  return html + "</div>\n";
}

// ---- the pictures

std::string swatch(const char* kind, const char* text) {
  return legend_item(
      std::string("<rect class=\"swatch ") + kind + "\" width=\"26\" height=\"14\"/>", text);
}

// The fill goes on when the container has long started.
std::string rest_of_fill(const Profile& profile, const ProfileReport& report, uint64_t end_us) {
  uint64_t last_us = 0;
  for (const ProfileFetch& fetch : profile.fetches) {
    if (fetch.by == FetchCause::kBackground) last_us = fetch.us;
  }
  if (last_us <= end_us) return "";
  return "<p>The background fill went on behind the right edge, until " + time_text(last_us) +
         "; it fetched " + rounded_size(report.by(FetchCause::kBackground).bytes) +
         " in all.</p>\n";
}

std::string bytes_section(const Profile& profile, const ProfileReport& report,
                          const ProfilePicture& picture) {
  const std::string chart = picture.bytes_chart();
  if (chart.empty()) return "";
  std::string legend = "<div class=\"legend\">\n";
  legend += legend_item("<path class=\"curve\" d=\"M1 12H9V7H17V2H25\"/>", "touched so far");
  if (report.by(FetchCause::kReader).ranges != 0) legend += swatch("reader", "fetched for readers");
  if (report.by(FetchCause::kPrefetch).ranges != 0)
    legend += swatch("prefetch", "prefetched and touched, sooner or later") +
              swatch("vain", "prefetched in vain");
  if (report.by(FetchCause::kBackground).ranges != 0)
    legend += swatch("background", "background fill");
  return "<section class=\"card\">\n<h2>Bytes over time</h2>\n" + legend + "</div>\n" + chart +
         rest_of_fill(profile, report, picture.end_us()) + "</section>\n";
}

std::string files_section(const Profile& profile, const ProfileReport& report,
                          const std::string& chart) {
  if (chart.empty()) return "";
  const bool list = profile.source == ProfileSource::kList;
  std::string about = "A row for each file, in the order of first touch. ";
  if (list)
    about = "A row for each file. A list has positions instead of times.";
  else if (is_trace(profile))
    about += "Time counts from when the image was prepared.";
  else
    about += "Time counts from the container's start.";
  return std::string("<section class=\"card\">\n<h2>") +
         (list ? "Files in order" : "Files over time") + "</h2>\n<p>" + about + "</p>\n" +
         legend(profile, report) + chart + "</section>\n";
}

}  // namespace

std::string profile_page(const Profile& profile) {
  const ProfileReport report = report_of(profile);
  const ProfilePicture picture(profile, report);
  const std::string title = escape_html(title_of(profile));
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
         "'unsafe-inline'; script-src '" +
         script_hash(kPageScript) +
         "'\"/>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
         "<title>" +
         title + "</title>\n<style>" + std::string(kPageStyle) +
         "</style>\n</head>\n<body>\n<main>\n" + head(profile) + tiles(profile, report) +
         bytes_section(profile, report, picture) +
         files_section(profile, report, picture.files_chart()) +
         files_table(profile, report, picture.rows()) + "</main>\n<script>" +
         std::string(kPageScript) + "</script>\n</body>\n</html>\n";
}

}  // namespace dedup
