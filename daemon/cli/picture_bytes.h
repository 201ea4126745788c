// The upper drawing of a profile's page: bytes touched, and bytes fetched by cause, over time.
// Pure; any thread.
#pragma once

#include <string>

#include "cli/time_axis.h"
#include "trace/profile_report.h"

namespace dedup {

struct BytesDrawing {
  std::string labels;  // HTML: of the scale
  std::string marks;   // SVG, TimeAxis::kWidth wide
  double height_px = 0;
};

// Nothing in it when no bytes are known.
BytesDrawing draw_bytes(const Profile& profile, const ProfileReport& report, const TimeAxis& axis);

}  // namespace dedup
