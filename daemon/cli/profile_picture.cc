#include "cli/profile_picture.h"

#include <algorithm>

#include "cli/html.h"
#include "cli/picture_bytes.h"
#include "cli/picture_files.h"

namespace dedup {
namespace {

std::vector<size_t> rows_of(const ProfileReport& report) {
  std::vector<size_t> rows;
  for (size_t i = 0; i < report.files.size(); ++i) {
    const FileReport& file = report.files[i];
    const auto ranges = [&](FetchCause by) { return file.fetched[static_cast<size_t>(by)].ranges; };
    if (file.first_us || ranges(FetchCause::kReader) + ranges(FetchCause::kPrefetch) != 0)
      rows.push_back(i);
  }
  return rows;
}

// The background fill goes on long after all else; what falls behind the end is not drawn.
TimeAxis axis_of(const Profile& profile) {
  std::vector<uint64_t> events = {profile.prepared_us};
  for (const ProfileEntry& entry : profile.entries)
    events.push_back(profile.prepared_us + entry.first_us);
  for (const ProfileFetch& fetch : profile.fetches) {
    if (fetch.by == FetchCause::kBackground) continue;
    events.push_back(fetch.us);
    events.push_back(fetch.us - std::min(fetch.us, fetch.wait_us));
  }
  return TimeAxis(std::move(events), profile.source == ProfileSource::kList
                                         ? TimeAxis::Unit::kPositions
                                         : TimeAxis::Unit::kMicroseconds);
}

}  // namespace

ProfilePicture::ProfilePicture(const Profile& profile, const ProfileReport& report)
    : x_profile(profile), x_report(report), x_rows(rows_of(report)), x_axis(axis_of(profile)) {}

std::string ProfilePicture::time_labels() const {
  std::string html = "<div class=\"times\">";
  bool odd = false;
  for (const TimeAxis::Tick& tick : x_axis.ticks()) {
    html += "<span" + std::string(odd ? " class=\"odd\"" : "") +
            " style=\"left:" + decimal(tick.x / 10) + "%\">" + tick.label + "</span>";
    odd = !odd;
  }
  return html + "</div>";
}

std::string ProfilePicture::pauses(double height_px) const {
  std::string svg;
  for (const TimeAxis::Pause& pause : x_axis.pauses())
    svg += "<rect class=\"pause\" x=\"" + decimal(pause.x) + "\" width=\"" + decimal(pause.width) +
           "\" height=\"" + decimal(height_px) + "\"/>\n";
  return svg;
}

// Lines of the times and the container's start around `marks`.
std::string ProfilePicture::field(double height_px, const std::string& marks) const {
  const std::string height = decimal(height_px);
  std::string times;
  for (const TimeAxis::Tick& tick : x_axis.ticks()) times += "M" + decimal(tick.x) + " 0V" + height;
  std::string html = "<svg viewBox=\"0 0 " + decimal(TimeAxis::kWidth) + " " + height +
                     "\" preserveAspectRatio=\"none\" height=\"" + height +
                     "\" aria-hidden=\"true\">\n" + path_element("grid", times) + marks;
  if (is_trace(x_profile))
    html += path_element("start", "M" + decimal(x_axis.x(x_profile.prepared_us)) + " 0V" + height);
  html += "</svg>";
  for (const TimeAxis::Pause& pause : x_axis.pauses())
    html += "<span class=\"pause\" style=\"left:" + decimal((pause.x + pause.width / 2) / 10) +
            "%\">" + time_text(pause.length_us) + " cut</span>";
  return "<div class=\"field\">" + start_label() + html + time_labels() + "</div>";
}

std::string ProfilePicture::start_label() const {
  if (!is_trace(x_profile)) return "";
  const double x = x_axis.x(x_profile.prepared_us);
  return "<div class=\"starts" + std::string(x > 800 ? " left" : "") +
         "\" style=\"left:" + decimal(x / 10) + "%\">container starts</div>";
}

std::string ProfilePicture::bytes_chart() const {
  const BytesDrawing drawing = draw_bytes(x_profile, x_report, x_axis);
  if (drawing.marks.empty()) return "";
  return "<div class=\"plot bytes\"><div class=\"labels\">" + drawing.labels + "</div><div></div>" +
         field(drawing.height_px, drawing.marks + pauses(drawing.height_px)) + "</div>\n";
}

std::string ProfilePicture::files_chart() const {
  if (x_rows.empty()) return "";
  const RowLayout layout = lay_out_rows(x_report, x_rows);
  const FilesDrawing drawing = draw_files(x_profile, x_report, x_rows, layout, x_axis);
  const std::string height = decimal(layout.height_px);
  return "<div class=\"plot files\" id=\"picture\" data-touched=\"" +
         std::to_string(layout.touched) + "\" data-row=\"" + decimal(layout.row_px, 6) +
         "\" data-vaintop=\"" + decimal(layout.vain_top_px) + "\" data-vainrow=\"" +
         decimal(layout.vain_row_px, 6) + "\"><div class=\"labels\">" + drawing.labels +
         "</div><svg class=\"layers\" viewBox=\"0 0 1 " + height +
         "\" preserveAspectRatio=\"none\" height=\"" + height + "\" aria-hidden=\"true\">\n" +
         drawing.layers + "</svg>" +
         field(layout.height_px, pauses(layout.height_px) + drawing.marks) + "</div>\n";
}

}  // namespace dedup
