#include "cli/profile_commands.h"

#include <sys/stat.h>

#include <cerrno>

#include "cli/profile_page.h"
#include "cli/trace_table.h"
#include "pool/files.h"
#include "trace/profile_file.h"
#include "trace/profile_import.h"
#include "trace/profile_order.h"
#include "trace/profile_report.h"

namespace dedup {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxListBytes = 64u << 20;

Result<Profile> load_profile(const std::string& file) {
  TRY(bytes, read_file(file, ProfileLimits().max_file_bytes));
  auto profile = read_profile(bytes);
  if (!profile.ok()) return std::move(profile).error().with(file);
  return profile;
}

json summary_json(const Profile& profile) {
  json layers = json::array();
  for (const Digest& layer : profile.layers) layers.push_back(layer.to_string());
  return {{"image", profile.image ? json(profile.image->to_string()) : json()},
          {"entrypoint", profile.entrypoint},
          {"source", name_of(profile.source)},
          {"runs", profile.runs},
          {"layers", std::move(layers)},
          {"ranges", profile.entries.size()},
          {"bytes", report_of(profile).touched_bytes}};
}

// Whole files have neither offset nor length, entries of lists no layer.
json entry_json(const Profile& profile, const ProfileEntry& entry) {
  json result = {{"path", entry.path}, {"us", entry.first_us}, {"runs", entry.runs}};
  if (entry.layer) result["layer"] = profile.layers[*entry.layer].to_string();
  if (entry.range.length != 0) {
    result["offset"] = entry.range.offset;
    result["length"] = entry.range.length;
  }
  return result;
}

// Of one start: what was fetched, why and whether it was needed. Times of entries count from the
// container's start, those of fetches from when the image was prepared.
json trace_json(const Profile& trace, const ProfileReport& report) {
  json result = {{"container", trace.container},         {"started", trace.started_s},
                 {"prepared_us", trace.prepared_us},     {"in_vain_bytes", report.vain_bytes()},
                 {"in_vain_ranges", report.vain_ranges}, {"wait_us", report.wait_us}};
  for (size_t i = 0; i < kTouchOutcomes; ++i)
    result["touched"][name_of(static_cast<TouchOutcome>(i))] = report.outcomes[i];
  for (size_t i = 0; i < kFetchCauses; ++i) {
    const FetchTotals& totals = report.fetched[i];
    result["fetched"][std::string(name_of(static_cast<FetchCause>(i)))] = {
        {"ranges", totals.ranges},
        {"bytes", totals.bytes},
        {"untouched_bytes", totals.untouched_bytes}};
  }
  return result;
}

json fetch_json(const Profile& trace, const ProfileFetch& fetch) {
  json result = {{"path", fetch.path},           {"offset", fetch.range.offset},
                 {"length", fetch.range.length}, {"us", fetch.us},
                 {"by", name_of(fetch.by)},      {"wait_us", fetch.wait_us}};
  if (fetch.layer) result["layer"] = trace.layers[*fetch.layer].to_string();
  return result;
}

void add_trace(json& object, const Profile& trace) {
  const ProfileReport report = report_of(trace);
  for (size_t i = 0; i < trace.entries.size(); ++i)
    object["entries"][i]["how"] = name_of(report.touches[i].outcome);
  json fetches = json::array();
  for (const ProfileFetch& fetch : trace.fetches) fetches.push_back(fetch_json(trace, fetch));
  object["fetches"] = std::move(fetches);
  object["trace"] = trace_json(trace, report);
}

Result<ListKind> list_kind(const std::string& name, std::string_view text) {
  if (name == "auto") return guess_list_kind(text);
  if (name == "paths") return ListKind::kPaths;
  if (name == "stargz") return ListKind::kStargz;
  return ListKind::kSoci;
}

// For people and their browsers, unlike what the daemon keeps: as readable as umask lets it be.
Result<void> store_page(const std::string& path, const std::string& page) {
  TRY(write_file_durably(path, as_bytes(page)));
  const mode_t mask = ::umask(0);
  ::umask(mask);
  if (::chmod(path.c_str(), 0666 & ~mask) != 0) return errno_error(errno, path);
  return {};
}

}  // namespace

Result<CommandResult> store_profile(const Profile& profile, const std::string& output) {
  TRY(file, write_profile(profile));
  TRY(write_file_durably(output, file));
  json object = summary_json(profile);
  object["file"] = output;
  return CommandResult{std::move(object), output + ": " + profile_summary(profile) + "\n"};
}

Result<CommandResult> run_profile_show(const std::string& file, const std::string& html) {
  TRY(profile, load_profile(file));
  if (!html.empty()) TRY(store_page(html, profile_page(profile)));
  json object = summary_json(profile);
  json entries = json::array();
  for (const ProfileEntry& entry : profile.entries) entries.push_back(entry_json(profile, entry));
  object["entries"] = std::move(entries);
  const bool trace = is_trace(profile);
  if (trace) add_trace(object, profile);
  if (!html.empty()) {
    object["html"] = html;
    return CommandResult{std::move(object), html + ": " + profile_summary(profile) + "\n"};
  }
  return CommandResult{std::move(object),
                       profile_summary(profile) + "\n" + profile_origin(profile) +
                           (trace ? trace_table(profile) : profile_table(profile))};
}

Result<CommandResult> run_profile_import(const ImportRequest& request) {
  std::vector<Digest> layers;
  for (const std::string& text : request.layers) {
    TRY(layer, Digest::parse(text));
    layers.push_back(layer);
  }
  TRY(bytes, read_file(request.list, kMaxListBytes));
  const std::string_view text = as_text(bytes);
  TRY(kind, list_kind(request.kind, text));
  auto profile = import_list(text, kind, layers);
  if (!profile.ok()) return std::move(profile).error().with(request.list);
  return store_profile(*profile, request.output);
}

Result<CommandResult> run_profile_build(const BuildRequest& request) {
  std::vector<Profile> runs;
  for (const std::string& file : request.runs) {
    TRY(run, load_profile(file));
    runs.push_back(std::move(run));
  }
  TRY(merged, merge_profiles(runs, {.min_percent_of_runs = request.min_percent_of_runs}));
  return store_profile(merged, request.output);
}

}  // namespace dedup
