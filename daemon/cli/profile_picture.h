// The two drawings of a profile's page on one time axis. They are as wide as their place: the marks
// are SVG that is stretched, all text is HTML beside and below. Classes are those of
// profile_style.h. Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "cli/time_axis.h"
#include "trace/profile_report.h"

namespace dedup {

class ProfilePicture {
 public:
  // profile, report: borrowed, must outlive this.
  ProfilePicture(const Profile& profile, const ProfileReport& report);

  // Files that have a row, as indices into report.files: all but those that only the background
  // fill fetched.
  const std::vector<size_t>& rows() const { return x_rows; }

  uint64_t end_us() const { return x_axis.end_us(); }  // what happened later is not drawn

  std::string bytes_chart() const;  // "" when no bytes are known
  std::string files_chart() const;  // "" when there are none

 private:
  std::string field(double height_px, const std::string& marks) const;
  std::string pauses(double height_px) const;
  std::string start_label() const;
  std::string time_labels() const;

  const Profile& x_profile;
  const ProfileReport& x_report;
  std::vector<size_t> x_rows;
  TimeAxis x_axis;
};

}  // namespace dedup
