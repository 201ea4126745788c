#include "cli/picture_files.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>
#include <unordered_map>

#include "cli/html.h"

namespace dedup {
namespace {

constexpr double kRowPx = 17;         // of a file that has a label to itself
constexpr double kFilesPx = 700;      // more files make lower rows, not a taller picture
constexpr double kLabelRowPx = 12.5;  // rows of this height have labels, each
constexpr double kLabelPx = 17;       // of lower rows those so far apart
constexpr double kLeadLineRowPx = 1;  // lower rows have no lines
constexpr double kOthersPx = 170;     // files that were not touched, however many
constexpr size_t kLabelBytes = 64;

// The end of a path says more than its beginning.
std::string path_label(const std::string& path) {
  if (path.size() <= kLabelBytes) return escape_html(path);
  size_t begin = path.size() - kLabelBytes;
  while (begin < path.size() && (static_cast<unsigned char>(path[begin]) & 0xC0) == 0x80) ++begin;
  return "\xE2\x80\xA6" + escape_html(path.substr(begin));
}

// Vertical strokes of one kind; what would cover another is left out.
class Strokes {
 public:
  void add(double x, double middle, double height) {
    if (!x_seen.emplace(std::lround(x * 2), std::lround(middle * 2)).second) return;
    x_d += "M" + decimal(x) + " " + decimal(middle - height / 2) + "v" + decimal(height);
  }
  std::string take() && { return std::move(x_d); }

 private:
  std::set<std::pair<long, long>> x_seen;
  std::string x_d;
};

std::string line(double x, double y, double end) {
  return "M" + decimal(x) + " " + decimal(y) + "H" + decimal(std::max(end, x + 1));
}

struct Marks {
  std::string lead;        // from when a file was prefetched to when it was touched
  std::string late, miss;  // a reader waits
  std::string background, prefetch, vain, reader, touch;
};

class Drawer {
 public:
  Drawer(const Profile& profile, const ProfileReport& report, const std::vector<size_t>& rows,
         const RowLayout& layout, const TimeAxis& axis)
      : x_profile(profile), x_report(report), x_rows(rows), x_layout(layout), x_axis(axis) {
    for (size_t row = 0; row < rows.size(); ++row) x_row_of[report.files[rows[row]].path] = row;
  }

  Marks marks() const;
  std::string labels() const;
  std::string layers() const;

 private:
  std::string lead_lines() const;

  const Profile& x_profile;
  const ProfileReport& x_report;
  const std::vector<size_t>& x_rows;
  const RowLayout& x_layout;
  const TimeAxis& x_axis;
  std::unordered_map<std::string_view, size_t> x_row_of;  // path in x_report -> row
};

// Of each file, from its first prefetch to its first touch.
std::string Drawer::lead_lines() const {
  if (x_layout.row_px < kLeadLineRowPx) return "";
  std::vector<uint64_t> prefetched_us(x_layout.touched, UINT64_MAX);
  for (const ProfileFetch& fetch : x_profile.fetches) {
    const auto found = x_row_of.find(fetch.path);
    if (fetch.by != FetchCause::kPrefetch || found == x_row_of.end()) continue;
    if (found->second < x_layout.touched)
      prefetched_us[found->second] = std::min(prefetched_us[found->second], fetch.us);
  }
  std::string d;
  for (size_t row = 0; row < x_layout.touched; ++row) {
    const uint64_t first_us = *x_report.files[x_rows[row]].first_us;
    if (prefetched_us[row] < first_us)
      d += line(x_axis.x(prefetched_us[row]), x_layout.middle_px(row), x_axis.x(first_us));
  }
  return d;
}

Marks Drawer::marks() const {
  Strokes background, prefetch, vain, reader, touch;
  const auto height = [this](size_t row) {
    return std::clamp(x_layout.height_of(row) * 0.7, 2.5, 11.0);
  };
  Marks marks;
  marks.lead = lead_lines();
  for (size_t i = 0; i < x_profile.fetches.size(); ++i) {
    const ProfileFetch& fetch = x_profile.fetches[i];
    const auto found = x_row_of.find(fetch.path);
    if (found == x_row_of.end() || fetch.us > x_axis.end_us()) continue;
    const size_t row = found->second;
    const double x = x_axis.x(fetch.us);
    const double y = x_layout.middle_px(row);
    const bool by_reader = fetch.by == FetchCause::kReader;
    if (by_reader)
      reader.add(x, y, std::max(height(row), 5.0));
    else if (fetch.by == FetchCause::kBackground || fetch.by == FetchCause::kReadahead)
      background.add(x, y, height(row));
    else
      (x_report.touched_of_fetch[i] == 0 ? vain : prefetch).add(x, y, height(row));
    if (fetch.wait_us != 0)
      (by_reader ? marks.miss : marks.late) +=
          line(x_axis.x(fetch.us - std::min(fetch.us, fetch.wait_us)), y, x);
  }
  for (const ProfileEntry& entry : x_profile.entries) {
    const size_t row = x_row_of.at(entry.path);
    touch.add(x_axis.x(x_profile.prepared_us + entry.first_us), x_layout.middle_px(row),
              height(row));
  }
  marks.background = std::move(background).take();
  marks.prefetch = std::move(prefetch).take();
  marks.vain = std::move(vain).take();
  marks.reader = std::move(reader).take();
  marks.touch = std::move(touch).take();
  return marks;
}

std::string Drawer::labels() const {
  std::string html;
  double free_from_px = -kLabelPx;
  for (size_t row = 0; row < x_rows.size(); ++row) {
    const double middle = x_layout.middle_px(row);
    if (row == x_layout.touched) free_from_px = std::min(free_from_px, middle);
    // Half a line stays inside.
    const double top = std::clamp(middle, 6.0, std::max(x_layout.height_px - 6, 6.0));
    if (top < free_from_px) continue;
    const double row_px = x_layout.height_of(row);
    free_from_px = top + (row_px >= kLabelRowPx ? row_px - 1 : kLabelPx);
    const std::string& path = x_report.files[x_rows[row]].path;
    html += "<span style=\"top:" + decimal(top) + "px\" title=\"" + escape_html(path) + "\">" +
            path_label(path) + "</span>";
  }
  return html;
}

std::string Drawer::layers() const {
  const double last = std::max<double>(static_cast<double>(x_profile.layers.size()), 2) - 1;
  std::string svg;
  for (size_t row = 0, next = 0; row < x_rows.size(); row = next) {
    const std::optional<uint32_t> layer = x_report.files[x_rows[row]].layer;
    const double top = x_layout.top_px(row);
    // Rows of one layer together, and those too low to be seen by themselves.
    for (next = row + 1; next < x_rows.size() && next != x_layout.touched; ++next) {
      if (x_report.files[x_rows[next]].layer != layer && x_layout.top_px(next) - top >= 0.5) break;
    }
    if (!layer) continue;
    svg += "<rect class=\"layer\" width=\"1\" y=\"" + decimal(top) + "\" height=\"" +
           decimal(x_layout.top_px(next - 1) - top + x_layout.height_of(next - 1)) +
           "\" opacity=\"" + decimal(0.1 + 0.8 * *layer / last) + "\"/>\n";
  }
  return svg;
}

}  // namespace

double RowLayout::height_of(size_t row) const {
  return row < touched ? row_px : vain_row_px;
}

double RowLayout::top_px(size_t row) const {
  if (row < touched) return row_px * static_cast<double>(row);
  return vain_top_px + vain_row_px * static_cast<double>(row - touched);
}

RowLayout lay_out_rows(const ProfileReport& report, const std::vector<size_t>& rows) {
  RowLayout layout;
  for (const size_t row : rows) layout.touched += report.files[row].first_us ? 1 : 0;
  const auto touched = static_cast<double>(layout.touched);
  const double others = static_cast<double>(rows.size()) - touched;
  const double others_px = std::min(others * kRowPx, kOthersPx);
  if (touched > 0) layout.row_px = std::min(kRowPx, (kFilesPx - others_px) / touched);
  layout.height_px = std::max(layout.row_px * touched, 1.0);
  if (others > 0) {
    layout.vain_top_px = layout.height_px + 10;
    layout.vain_row_px = others_px / others;
    layout.height_px = layout.vain_top_px + others_px;
  }
  return layout;
}

FilesDrawing draw_files(const Profile& profile, const ProfileReport& report,
                        const std::vector<size_t>& rows, const RowLayout& layout,
                        const TimeAxis& axis) {
  const Drawer drawer(profile, report, rows, layout, axis);
  const Marks marks = drawer.marks();
  FilesDrawing drawing;
  drawing.labels = drawer.labels();
  drawing.layers = drawer.layers();
  if (layout.touched < rows.size())
    drawing.marks += "<rect class=\"vainband\" y=\"" + decimal(layout.vain_top_px - 3) +
                     "\" width=\"" + decimal(TimeAxis::kWidth) + "\" height=\"" +
                     decimal(layout.height_px - layout.vain_top_px + 3) + "\"/>\n";
  const double bar_px = std::clamp(layout.row_px * 0.4, 2.0, 6.0);
  drawing.marks +=
      path_element("lead", marks.lead) + path_element("mark background", marks.background) +
      path_element("mark prefetch", marks.prefetch) + "<g style=\"stroke-width:" + decimal(bar_px) +
      "px\">\n" + path_element("wait late", marks.late) + path_element("wait miss", marks.miss) +
      "</g>\n" + path_element("mark vain", marks.vain) + path_element("mark touch", marks.touch) +
      path_element("mark reader", marks.reader);
  return drawing;
}

}  // namespace dedup
