#include "cli/page_table.h"

#include "cli/html.h"
#include "cli/report.h"
#include "cli/sizes.h"
#include "cli/time_axis.h"
#include "cli/trace_table.h"

namespace dedup {
namespace {

constexpr size_t kMaxTableRows = 20'000;

std::string cell(uint64_t value, const std::string& text, const char* kind = "") {
  if (value == 0) return "<td></td>";
  const std::string attribute = *kind == 0 ? "" : std::string(" class=\"") + kind + "\"";
  return "<td" + attribute + " data-v=\"" + std::to_string(value) + "\">" + text + "</td>";
}

std::string size_cell(uint64_t bytes, const char* kind = "") {
  return cell(bytes, rounded_size(bytes), kind);
}

// What the pointer shows of a row of the picture.
std::string about(const Profile& profile, const FileReport& file) {
  if (!file.first_us) {
    const bool prefetched = file.fetched[static_cast<size_t>(FetchCause::kPrefetch)].ranges != 0;
    return prefetched ? "prefetched in vain: not touched"
                      : "fetched for a reader, not touched by this start";
  }
  if (profile.source == ProfileSource::kList) return "position " + count_text(*file.first_us);
  std::string text = "first touched at " + time_text(*file.first_us) + ", " +
                     rounded_size(file.touched_bytes) + " in " + count_text(file.ranges) +
                     (file.ranges == 1 ? " range" : " ranges");
  if (file.misses != 0)
    text += ", " + count_text(file.misses) + (file.misses == 1 ? " miss" : " misses");
  if (file.wait_us != 0) text += ", readers waited " + time_text(file.wait_us);
  return text;
}

std::string table_row(const Profile& profile, const FileReport& file) {
  const bool list = profile.source == ProfileSource::kList;
  std::string html = file.first_us ? "<tr" : "<tr class=\"never\"";
  html += " data-about=\"" + about(profile, file) + "\"><td class=\"path\">" +
          escape_html(file.path) + "</td>";
  html += file.layer ? "<td data-v=\"" + std::to_string(*file.layer) + "\" title=\"" +
                           profile.layers[*file.layer].to_string() + "\">" +
                           std::to_string(*file.layer) + "</td>"
                     : "<td></td>";
  // Only a touch at 0 looks like none.
  html += file.first_us
              ? "<td data-v=\"" + std::to_string(*file.first_us) + "\">" +
                    (list ? count_text(*file.first_us) : milliseconds_text(*file.first_us)) +
                    "</td>"
              : "<td></td>";
  html += cell(file.ranges, count_text(file.ranges)) + size_cell(file.touched_bytes);
  if (!profile.fetches.empty()) {
    const auto& [reader, readahead, prefetch, background] = file.fetched;
    html += size_cell(prefetch.bytes) + size_cell(prefetch.untouched_bytes, "vain") +
            size_cell(reader.bytes, "reader") +
            cell(file.misses, count_text(file.misses), "reader") +
            cell(file.wait_us, milliseconds_text(file.wait_us), "reader") +
            size_cell(readahead.bytes) + size_cell(background.bytes);
  }
  return html + "</tr>\n";
}

}  // namespace

std::string files_table(const Profile& profile, const ProfileReport& report,
                        const std::vector<size_t>& rows) {
  const bool list = profile.source == ProfileSource::kList;
  std::string html =
      "<section class=\"card\">\n<div class=\"tools\" id=\"tools\"><h2>Files</h2></div>\n"
      "<div class=\"scroll\"><table id=\"files\"><thead><tr><th class=\"text\">Path</th>"
      "<th>Layer</th><th>" +
      std::string(list ? "Position" : "Touched at, ms") + "</th><th>Ranges</th><th>Touched</th>";
  if (!profile.fetches.empty())
    html +=
        "<th>Prefetched</th><th>In vain</th><th>For readers</th><th>Misses</th><th>Waited, ms</th>"
        "<th>Read along</th><th>Background</th>";
  html += "</tr></thead><tbody>\n";
  for (size_t i = 0; i < rows.size() && i < kMaxTableRows; ++i)
    html += table_row(profile, report.files[rows[i]]);
  html += "</tbody></table></div>\n";
  if (rows.size() > kMaxTableRows)
    html += "<p>" + count_text(rows.size() - kMaxTableRows) +
            " files more; \"dedupctl profile show --json\" lists all.</p>\n";
  if (const size_t others = report.files.size() - rows.size(); others != 0)
    html += "<p>Besides, the background fill fetched " + count_text(others) +
            (others == 1 ? " file that was" : " files that were") + " not touched.</p>\n";
  return html + "</section>\n";
}

}  // namespace dedup
