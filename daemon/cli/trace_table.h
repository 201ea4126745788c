// Profiles as text: one line that sums up, and tables. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "trace/profile_report.h"

namespace dedup {

// "412 ranges, 61.2 MiB, 1 run, source touches"
std::string profile_summary(const Profile& profile);

// "250.000" of 250000 us
std::string milliseconds_text(uint64_t us);

// "2.2 %"
std::string percent_text(uint64_t part, uint64_t whole);

// What is known of image, entrypoint and container, a line each.
std::string profile_origin(const Profile& profile);

// A line for each touched range: time, range, runs, layer, path.
std::string profile_table(const Profile& profile);

// Of a trace: what was fetched and why, then a line for each touched range and for each fetch that
// was in vain, by time: touched, fetched, by whom, how long a reader waited, range, layer, path.
// Ends with what the words of its column HOW mean.
std::string trace_table(const Profile& trace);

// "ahead", "in vain"... The words of the table, the page and --json.
const char* name_of(TouchOutcome outcome);

}  // namespace dedup
