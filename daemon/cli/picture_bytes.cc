#include "cli/picture_bytes.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "cli/html.h"
#include "cli/sizes.h"

namespace dedup {
namespace {

constexpr size_t kColumns = static_cast<size_t>(TimeAxis::kWidth);
constexpr double kBytesPx = 190;
using Columns = std::array<double, kColumns + 1>;  // bytes until the end of each

void accumulate(Columns& columns) {
  for (size_t i = 1; i < columns.size(); ++i) columns[i] += columns[i - 1];
}

double y_of(double bytes, double top_bytes) {
  return kBytesPx * (1 - std::min(bytes / top_bytes, 1.0));
}

// "H x V y" for each change.
std::string steps(const Columns& columns, double top_bytes) {
  std::string d;
  double last = y_of(0, top_bytes);
  for (size_t i = 0; i < columns.size(); ++i) {
    const double y = y_of(columns[i], top_bytes);
    if (std::abs(y - last) < 0.05) continue;
    d += "H" + std::to_string(i) + "V" + decimal(y);
    last = y;
  }
  return d + "H" + std::to_string(kColumns);
}

std::string area(const Columns& columns, double top_bytes) {
  const std::string base = decimal(kBytesPx);
  return "M0 " + base + steps(columns, top_bytes) + "V" + base + "Z";
}

// Of a scale with two to five lines.
double grid_step(double top_bytes) {
  double step = 1;
  while (step * 5 < top_bytes) step *= 2;
  return step;
}

// Areas, each on top of those before.
enum Area : size_t { kReaderArea, kPrefetchArea, kVainArea, kBackgroundArea, kAreaCount };
constexpr std::array<const char*, kAreaCount> kAreaClasses = {"area reader", "area prefetch",
                                                              "area vain", "area background"};

struct Curves {
  std::array<Columns, kAreaCount> fetched{};
  Columns touched{};
};

Curves curves_of(const Profile& profile, const ProfileReport& report, const TimeAxis& axis) {
  Curves curves;
  const auto column = [&](uint64_t us) { return static_cast<size_t>(axis.x(us)); };
  for (size_t i = 0; i < profile.entries.size(); ++i)
    curves.touched[column(profile.prepared_us + profile.entries[i].first_us)] +=
        static_cast<double>(report.touches[i].new_bytes);
  for (size_t i = 0; i < profile.fetches.size(); ++i) {
    const ProfileFetch& fetch = profile.fetches[i];
    if (fetch.us > axis.end_us()) continue;
    const auto add = [&](size_t lowest, uint64_t bytes) {
      for (size_t at = lowest; at < kAreaCount; ++at)
        curves.fetched[at][column(fetch.us)] += static_cast<double>(bytes);
    };
    if (fetch.by == FetchCause::kPrefetch) {
      add(kPrefetchArea, report.touched_of_fetch[i]);
      add(kVainArea, fetch.range.length - report.touched_of_fetch[i]);
    } else {
      const bool background = fetch.by == FetchCause::kBackground;
      add(background ? kBackgroundArea : kReaderArea, fetch.range.length);
    }
  }
  accumulate(curves.touched);
  for (Columns& columns : curves.fetched) accumulate(columns);
  return curves;
}

// What the scale must hold. The background fill may be large; it must not flatten what matters.
double top_of(const Curves& curves) {
  const double core = std::max(curves.touched.back(), curves.fetched[kVainArea].back());
  const double all = std::max(core, curves.fetched[kBackgroundArea].back());
  return 1.04 * (core == 0 ? all : std::min(all, core * 1.5));
}

}  // namespace

BytesDrawing draw_bytes(const Profile& profile, const ProfileReport& report, const TimeAxis& axis) {
  const Curves curves = curves_of(profile, report, axis);
  const double top = top_of(curves);
  if (top == 0) return {};
  BytesDrawing drawing;
  drawing.height_px = kBytesPx;
  std::string grid;
  const double step = grid_step(top);
  for (double bytes = 0; bytes <= top; bytes += step) {
    const double y = y_of(bytes, top);
    drawing.labels += "<span style=\"top:" + decimal(y) + "px\">" +
                      rounded_size(static_cast<uint64_t>(std::min(bytes, 1.8e19))) + "</span>";
    grid += "M0 " + decimal(y) + "H" + decimal(TimeAxis::kWidth);
  }
  drawing.marks = path_element("grid", grid);
  for (size_t i = kAreaCount; i-- > 0;) {
    const double below = i == 0 ? 0 : curves.fetched[i - 1].back();
    if (curves.fetched[i].back() > below)
      drawing.marks += path_element(kAreaClasses[i], area(curves.fetched[i], top));
  }
  drawing.marks += path_element("curve", "M0 " + decimal(kBytesPx) + steps(curves.touched, top));
  return drawing;
}

}  // namespace dedup
