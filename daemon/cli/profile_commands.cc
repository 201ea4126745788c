#include "cli/profile_commands.h"

#include <algorithm>
#include <cstdio>

#include "cli/answer.h"
#include "cli/report.h"
#include "cli/sizes.h"
#include "cli/table.h"
#include "pool/files.h"
#include "trace/profile_file.h"
#include "trace/profile_import.h"
#include "trace/profile_order.h"

namespace dedup {
namespace {

using nlohmann::json;
using Align = Table::Align;

constexpr uint64_t kMaxListBytes = 64u << 20;

Result<Profile> load_profile(const std::string& file) {
  TRY(bytes, read_file(file, ProfileLimits().max_file_bytes));
  auto profile = read_profile(bytes);
  if (!profile.ok()) return std::move(profile).error().with(file);
  return profile;
}

uint64_t bytes_of(const Profile& profile) {
  uint64_t bytes = 0;
  for (const ProfileEntry& entry : profile.entries)
    bytes += std::min(entry.range.length, UINT64_MAX - bytes);
  return bytes;
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
          {"bytes", bytes_of(profile)}};
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

std::string summary_text(const Profile& profile) {
  std::string text = count_text(profile.entries.size()) + " ranges";
  if (const uint64_t bytes = bytes_of(profile); bytes != 0) text += ", " + rounded_size(bytes);
  text += ", " + count_text(profile.runs) + (profile.runs == 1 ? " run" : " runs");
  return text + ", source " + std::string(name_of(profile.source));
}

std::string milliseconds(uint64_t us) {
  std::string digits = std::to_string(us % 1000);
  digits.insert(0, 3 - digits.size(), '0');
  return count_text(us / 1000) + "." + digits;
}

std::string entries_text(const Profile& profile) {
  const bool list = profile.source == ProfileSource::kList;
  Table table({{list ? "POSITION" : "MS", Align::kRight},
               {"OFFSET", Align::kRight},
               {"LENGTH", Align::kRight},
               {"RUNS", Align::kRight},
               {"LAYER"},
               {"PATH"}});
  for (const ProfileEntry& entry : profile.entries) {
    const bool whole = entry.range.length == 0;
    table.add({list ? count_text(entry.first_us) : milliseconds(entry.first_us),
               whole ? "" : exact_size(entry.range.offset),
               whole ? "all" : exact_size(entry.range.length), count_text(entry.runs),
               entry.layer ? short_digest(profile.layers[*entry.layer].to_string()) : "",
               printable(entry.path)});
  }
  return table.to_string();
}

Result<ListKind> list_kind(const std::string& name, std::string_view text) {
  if (name == "auto") return guess_list_kind(text);
  if (name == "paths") return ListKind::kPaths;
  if (name == "stargz") return ListKind::kStargz;
  return ListKind::kSoci;
}

Result<CommandResult> store_profile(const Profile& profile, const std::string& output) {
  TRY(file, write_profile(profile));
  TRY(write_file_durably(output, file));
  json object = summary_json(profile);
  object["file"] = output;
  return CommandResult{std::move(object), output + ": " + summary_text(profile) + "\n"};
}

}  // namespace

Result<CommandResult> run_profile_show(const std::string& file) {
  TRY(profile, load_profile(file));
  json object = summary_json(profile);
  json entries = json::array();
  for (const ProfileEntry& entry : profile.entries) entries.push_back(entry_json(profile, entry));
  object["entries"] = std::move(entries);
  std::string text = summary_text(profile) + "\n";
  if (profile.image) text += "image " + profile.image->to_string() + "\n";
  if (!profile.entrypoint.empty()) {
    text += "entrypoint";
    for (const std::string& word : profile.entrypoint) text += " " + printable(word);
    text += "\n";
  }
  return CommandResult{std::move(object), text + entries_text(profile)};
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
