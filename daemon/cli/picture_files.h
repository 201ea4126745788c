// The lower drawing of a profile's page: what happened to each file when. A row for each file,
// first touched first; below them those that were fetched and never touched. Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "cli/time_axis.h"
#include "trace/profile_report.h"

namespace dedup {

// Rows get lower the more there are; the height stays.
struct RowLayout {
  size_t touched = 0;  // rows of files that were touched
  double row_px = 0;
  double vain_top_px = 0;  // where the others begin
  double vain_row_px = 0;
  double height_px = 0;

  double top_px(size_t row) const;
  double height_of(size_t row) const;
  double middle_px(size_t row) const { return top_px(row) + height_of(row) / 2; }
};

// rows: indices into report.files, touched files first.
RowLayout lay_out_rows(const ProfileReport& report, const std::vector<size_t>& rows);

struct FilesDrawing {
  std::string labels;  // HTML: names of as many rows as there is room for
  std::string layers;  // SVG, 1 wide: the layer of each row, the bottom one faintest
  std::string marks;   // SVG, TimeAxis::kWidth wide
};
FilesDrawing draw_files(const Profile& profile, const ProfileReport& report,
                        const std::vector<size_t>& rows, const RowLayout& layout,
                        const TimeAxis& axis);

}  // namespace dedup
