// The table of files on a profile's page. Cells that people sort by carry their number. Pure; any
// thread.
#pragma once

#include <string>
#include <vector>

#include "trace/profile_report.h"

namespace dedup {

// rows: indices into report.files, in the order of the rows.
std::string files_table(const Profile& profile, const ProfileReport& report,
                        const std::vector<size_t>& rows);

}  // namespace dedup
