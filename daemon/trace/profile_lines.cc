#include "trace/profile_lines.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "trace/flat_json.h"

namespace dedup {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kVersion = 1;
constexpr std::array<std::string_view, 3> kSources = {"touches", "misses", "list"};
constexpr std::array<std::string_view, 4> kCauses = {"reader", "readahead", "prefetch",
                                                     "background"};

Error refuse(const char* rule) {
  return make_error(Errc::kInvalid, rule);
}

Result<ProfileSource> source_named(const std::string& name) {
  const auto found = std::ranges::find(kSources, name);
  if (found == kSources.end()) return refuse("\"source\" is unknown");
  return static_cast<ProfileSource>(found - kSources.begin());
}

Result<FetchCause> cause_named(const std::string& name) {
  const auto found = std::ranges::find(kCauses, name);
  if (found == kCauses.end()) return refuse("\"by\" is unknown");
  return static_cast<FetchCause>(found - kCauses.begin());
}

// A number that is out of the range of T is so in whatever is checked later, too.
template <typename T>
T clamped(uint64_t number) {
  return static_cast<T>(std::min<uint64_t>(number, std::numeric_limits<T>::max()));
}

// Absent: 0.
Result<uint64_t> number_or_0(const FlatJson& json, const char* key) {
  if (!json.has(key)) return uint64_t{0};
  return json.number(key);
}

// Entries and fetches have these alike.
template <typename Line>
Result<void> parse_place(const FlatJson& json, Line& line) {
  if (json.has("layer")) {
    TRY(layer, json.number("layer"));
    line.layer = clamped<uint32_t>(layer);
  }
  TRY(path, json.text("path"));
  line.path = std::move(path);
  return {};
}

Result<ByteRange> parse_range(const FlatJson& json) {
  TRY(offset, json.number("offset"));
  TRY(length, json.number("length"));
  if (length == 0) return refuse("\"length\" is 0");
  return ByteRange{offset, length};
}

template <typename Line>
Result<void> check_place(const Profile& profile, const Line& line, const ProfileLimits& limits) {
  if (!valid_profile_path(line.path)) return refuse("\"path\" is not absolute, clean and UTF-8");
  if (line.layer && *line.layer >= profile.layers.size())
    return refuse("\"layer\" is not in the list of layers");
  if (line.range.offset > limits.max_file_offset || line.range.length > limits.max_file_offset)
    return refuse("\"offset\" or \"length\" is over 2^53");
  return {};
}

Result<void> check_us(uint64_t us, uint64_t last_us, const ProfileLimits& limits) {
  if (us < last_us) return refuse("\"us\" is less than that of the line before");
  if (us > limits.max_file_offset) return refuse("\"us\" is over 2^53");
  return {};
}

template <typename Line>
Json place_json(const Line& line) {
  Json json;
  if (line.layer) json["layer"] = *line.layer;
  json["path"] = line.path;
  if (line.range.length != 0) {
    json["offset"] = line.range.offset;
    json["length"] = line.range.length;
  }
  return json;
}

Result<void> parse_trace(const FlatJson& json, ProfileHeader& header) {
  Profile& profile = header.profile;
  if (json.has("container")) {
    TRY(container, json.text("container"));
    profile.container = std::move(container);
  }
  TRY(started, number_or_0(json, "started"));
  TRY(prepared_us, number_or_0(json, "prepared_us"));
  TRY(fetches, number_or_0(json, "fetches"));
  profile.started_s = started;
  profile.prepared_us = prepared_us;
  header.fetches = fetches;
  return {};
}

}  // namespace

std::string_view name_of(ProfileSource source) {
  return kSources[static_cast<size_t>(source)];
}

std::string_view name_of(FetchCause cause) {
  return kCauses[static_cast<size_t>(cause)];
}

Error profile_over(const char* what, uint64_t limit) {
  return make_error(Errc::kNoSpace,
                    "profile has more " + std::string(what) + " than " + std::to_string(limit));
}

Result<void> check_header(const Profile& profile, const ProfileLimits& limits) {
  if (profile.runs < 1 || profile.runs > limits.max_runs)
    return make_error(Errc::kInvalid, "\"runs\" is not 1 to " + std::to_string(limits.max_runs));
  if (profile.layers.size() > limits.max_layers) return profile_over("layers", limits.max_layers);
  if (profile.entries.size() > limits.max_entries)
    return profile_over("entries", limits.max_entries);
  if (profile.fetches.size() > limits.max_entries)
    return profile_over("fetches", limits.max_entries);
  if (profile.started_s > limits.max_file_offset || profile.prepared_us > limits.max_file_offset)
    return refuse("\"started\" or \"prepared_us\" is over 2^53");
  return {};
}

Result<void> check_entry(const Profile& profile, const ProfileEntry& entry, uint64_t last_us,
                         const ProfileLimits& limits) {
  TRY(check_place(profile, entry, limits));
  if (entry.range.length == 0 && entry.range.offset != 0)
    return refuse("\"offset\" without \"length\"");
  TRY(check_us(entry.first_us, last_us, limits));
  if (entry.runs < 1 || entry.runs > profile.runs)
    return refuse("\"runs\" is not 1 to that of the first line");
  return {};
}

Result<void> check_fetch(const Profile& profile, const ProfileFetch& fetch, uint64_t last_us,
                         const ProfileLimits& limits) {
  TRY(check_place(profile, fetch, limits));
  if (fetch.range.length == 0) return refuse("\"length\" is 0");
  TRY(check_us(fetch.us, last_us, limits));
  if (fetch.wait_us > limits.max_file_offset) return refuse("\"wait_us\" is over 2^53");
  return {};
}

Result<ProfileHeader> parse_header_line(std::string_view line, const ProfileLimits& limits) {
  TRY(json, FlatJson::parse(line));
  TRY(version, json.number("dedup_profile"));
  if (version != kVersion)
    return make_error(Errc::kUnsupported, "profile of version " + std::to_string(version));
  ProfileHeader header;
  Profile& profile = header.profile;
  if (json.has("image")) {
    TRY(text, json.text("image"));
    TRY(image, Digest::parse(text));
    profile.image = image;
  }
  if (json.has("entrypoint")) {
    TRY(entrypoint, json.texts("entrypoint"));
    profile.entrypoint = std::move(entrypoint);
  }
  TRY(source_name, json.text("source"));
  TRY(source, source_named(source_name));
  profile.source = source;
  TRY(runs, json.number("runs"));
  profile.runs = clamped<uint32_t>(runs);
  TRY(layers, json.texts("layers"));
  for (const std::string& text : layers) {
    TRY(layer, Digest::parse(text));
    profile.layers.push_back(layer);
  }
  TRY(entries, json.number("entries"));
  header.entries = entries;
  TRY(parse_trace(json, header));
  TRY(check_header(profile, limits));
  if (header.entries > limits.max_entries) return profile_over("entries", limits.max_entries);
  if (header.fetches > limits.max_entries) return profile_over("fetches", limits.max_entries);
  return header;
}

Result<ProfileEntry> parse_entry_line(std::string_view line) {
  TRY(json, FlatJson::parse(line));
  ProfileEntry entry;
  TRY(parse_place(json, entry));
  if (json.has("length") || json.has("offset")) {
    TRY(range, parse_range(json));
    entry.range = range;
  }
  TRY(first_us, json.number("us"));
  TRY(runs, json.number("runs"));
  entry.first_us = first_us;
  entry.runs = clamped<uint32_t>(runs);
  return entry;
}

Result<ProfileFetch> parse_fetch_line(std::string_view line) {
  TRY(json, FlatJson::parse(line));
  ProfileFetch fetch;
  TRY(parse_place(json, fetch));
  TRY(range, parse_range(json));
  TRY(us, json.number("us"));
  TRY(cause_name, json.text("by"));
  TRY(by, cause_named(cause_name));
  TRY(wait_us, number_or_0(json, "wait_us"));
  fetch.range = range;
  fetch.us = us;
  fetch.by = by;
  fetch.wait_us = wait_us;
  return fetch;
}

std::string header_line(const Profile& profile) {
  Json json{{"dedup_profile", kVersion}};
  if (profile.image) json["image"] = profile.image->to_string();
  if (!profile.entrypoint.empty()) json["entrypoint"] = profile.entrypoint;
  json["source"] = name_of(profile.source);
  json["runs"] = profile.runs;
  Json layers = Json::array();
  for (const Digest& layer : profile.layers) layers.push_back(layer.to_string());
  json["layers"] = std::move(layers);
  json["entries"] = profile.entries.size();
  if (!profile.container.empty()) json["container"] = profile.container;
  if (profile.started_s != 0) json["started"] = profile.started_s;
  if (profile.prepared_us != 0) json["prepared_us"] = profile.prepared_us;
  if (!profile.fetches.empty()) json["fetches"] = profile.fetches.size();
  // The command line of a process may be any bytes.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string entry_line(const ProfileEntry& entry) {
  Json json = place_json(entry);
  json["us"] = entry.first_us;
  json["runs"] = entry.runs;
  return json.dump() + "\n";
}

std::string fetch_line(const ProfileFetch& fetch) {
  Json json = place_json(fetch);
  json["us"] = fetch.us;
  json["by"] = name_of(fetch.by);
  if (fetch.wait_us != 0) json["wait_us"] = fetch.wait_us;
  return json.dump() + "\n";
}

}  // namespace dedup
