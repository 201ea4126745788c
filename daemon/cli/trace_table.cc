#include "cli/trace_table.h"

#include <algorithm>

#include "cli/answer.h"
#include "cli/report.h"
#include "cli/sizes.h"
#include "cli/table.h"
#include "trace/profile_file.h"

namespace dedup {
namespace {

using Align = Table::Align;

std::string layer_cell(const Profile& profile, std::optional<uint32_t> layer) {
  return layer ? short_digest(profile.layers[*layer].to_string()) : "";
}

std::string plural(uint64_t number, const std::string& noun) {
  return count_text(number) + " " + noun + (number == 1 ? "" : "s");
}

std::string totals_text(const Profile& trace, const ProfileReport& report) {
  Table table({{"FETCHED"},
               {"RANGES", Align::kRight},
               {"BYTES", Align::kRight},
               {"NOT TOUCHED", Align::kRight}});
  for (const FetchCause cause : {FetchCause::kReader, FetchCause::kReadahead, FetchCause::kPrefetch,
                                 FetchCause::kBackground}) {
    const FetchTotals& totals = report.by(cause);
    table.add({"by " + std::string(name_of(cause)), count_text(totals.ranges),
               rounded_size(totals.bytes), rounded_size(totals.untouched_bytes)});
  }
  const std::string noun = report.misses() == 1 ? " miss, " : " misses, ";
  return table.to_string() + count_text(report.misses()) + noun +
         percent_text(report.misses(), trace.entries.size()) +
         " of the touched ranges; readers waited " + milliseconds_text(report.wait_us) + " ms\n";
}

struct Row {
  uint64_t us = 0;
  std::vector<std::string> cells;
};

std::vector<std::string> place_cells(const Profile& trace, std::optional<uint32_t> layer,
                                     const std::string& path, ByteRange range) {
  const bool whole = range.length == 0;
  return {whole ? "" : exact_size(range.offset), whole ? "all" : exact_size(range.length),
          layer_cell(trace, layer), printable(path)};
}

Row touch_row(const Profile& trace, const ProfileEntry& entry, const TouchReport& touch) {
  const ProfileFetch* fetch = touch.fetch ? &trace.fetches[*touch.fetch] : nullptr;
  Row row{trace.prepared_us + entry.first_us, {}};
  row.cells = {milliseconds_text(row.us), fetch ? milliseconds_text(fetch->us) : "",
               fetch ? std::string(name_of(fetch->by)) : "",
               fetch && fetch->wait_us != 0 ? milliseconds_text(fetch->wait_us) : "",
               name_of(touch.outcome)};
  std::ranges::move(place_cells(trace, entry.layer, entry.path, entry.range),
                    std::back_inserter(row.cells));
  return row;
}

Row vain_row(const Profile& trace, const ProfileFetch& fetch) {
  Row row{fetch.us,
          {"", milliseconds_text(fetch.us), std::string(name_of(fetch.by)), "", "in vain"}};
  std::ranges::move(place_cells(trace, fetch.layer, fetch.path, fetch.range),
                    std::back_inserter(row.cells));
  return row;
}

// Times count from when the image was prepared.
std::vector<Row> rows_of(const Profile& trace, const ProfileReport& report) {
  std::vector<Row> rows;
  for (size_t i = 0; i < trace.entries.size(); ++i)
    rows.push_back(touch_row(trace, trace.entries[i], report.touches[i]));
  for (size_t i = 0; i < trace.fetches.size(); ++i) {
    if (trace.fetches[i].by == FetchCause::kPrefetch && report.touched_of_fetch[i] == 0)
      rows.push_back(vain_row(trace, trace.fetches[i]));
  }
  std::ranges::stable_sort(rows, {}, &Row::us);
  return rows;
}

constexpr const char* kWords =
    "HOW  ahead: fetched before it was touched; late: on its way, a reader waited; miss: fetched "
    "for a\n"
    "     reader; along: came with a miss nearby; present: on the node before; in vain: "
    "prefetched, "
    "not touched\n";

}  // namespace

const char* name_of(TouchOutcome outcome) {
  switch (outcome) {
    case TouchOutcome::kPresent:
      return "present";
    case TouchOutcome::kAhead:
      return "ahead";
    case TouchOutcome::kAlong:
      return "along";
    case TouchOutcome::kLate:
      return "late";
    case TouchOutcome::kMiss:
      return "miss";
  }
  return "";
}

std::string milliseconds_text(uint64_t us) {
  std::string digits = std::to_string(us % 1000);
  digits.insert(0, 3 - digits.size(), '0');
  return count_text(us / 1000) + "." + digits;
}

std::string percent_text(uint64_t part, uint64_t whole) {
  if (whole == 0) return "0 %";
  const auto tenths =
      static_cast<uint64_t>(static_cast<double>(part) * 1000 / static_cast<double>(whole) + 0.5);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " %";
}

std::string profile_summary(const Profile& profile) {
  std::string text = count_text(profile.entries.size()) + " ranges";
  if (const uint64_t bytes = report_of(profile).touched_bytes; bytes != 0)
    text += ", " + rounded_size(bytes);
  text += ", " + plural(profile.runs, "run");
  return text + ", source " + std::string(name_of(profile.source));
}

std::string profile_origin(const Profile& profile) {
  std::string text;
  if (profile.image) text += "image " + profile.image->to_string() + "\n";
  if (!profile.entrypoint.empty()) {
    text += "entrypoint";
    for (const std::string& word : profile.entrypoint) text += " " + printable(word);
    text += "\n";
  }
  if (!profile.container.empty()) text += "container " + printable(profile.container) + "\n";
  return text;
}

std::string profile_table(const Profile& profile) {
  const bool list = profile.source == ProfileSource::kList;
  Table table({{list ? "POSITION" : "MS", Align::kRight},
               {"OFFSET", Align::kRight},
               {"LENGTH", Align::kRight},
               {"RUNS", Align::kRight},
               {"LAYER"},
               {"PATH"}});
  for (const ProfileEntry& entry : profile.entries) {
    const bool whole = entry.range.length == 0;
    table.add({list ? count_text(entry.first_us) : milliseconds_text(entry.first_us),
               whole ? "" : exact_size(entry.range.offset),
               whole ? "all" : exact_size(entry.range.length), count_text(entry.runs),
               layer_cell(profile, entry.layer), printable(entry.path)});
  }
  return table.to_string();
}

std::string trace_table(const Profile& trace) {
  const ProfileReport report = report_of(trace);
  Table table({{"TOUCHED MS", Align::kRight},
               {"FETCHED MS", Align::kRight},
               {"BY"},
               {"WAIT MS", Align::kRight},
               {"HOW"},
               {"OFFSET", Align::kRight},
               {"LENGTH", Align::kRight},
               {"LAYER"},
               {"PATH"}});
  for (Row& row : rows_of(trace, report)) table.add(std::move(row.cells));
  return "times count from when the image was prepared; the container started at " +
         milliseconds_text(trace.prepared_us) + " ms\n" + totals_text(trace, report) +
         table.to_string() + kWords;
}

}  // namespace dedup
