#include "trace/profile_file.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>

#include "trace/flat_json.h"

namespace dedup {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kVersion = 1;
constexpr int kLevel = 9;
constexpr int kMaxWindowLog = 23;  // 8 MiB of memory
constexpr std::array<std::string_view, 3> kSources = {"touches", "misses", "list"};

Error over(const char* what, uint64_t limit) {
  return make_error(Errc::kNoSpace,
                    "profile has more " + std::string(what) + " than " + std::to_string(limit));
}

Result<ProfileSource> source_named(const std::string& name) {
  const auto found = std::ranges::find(kSources, name);
  if (found == kSources.end()) return make_error(Errc::kInvalid, "\"source\" is unknown");
  return static_cast<ProfileSource>(found - kSources.begin());
}

// What reader and writer demand of the parts.
Result<void> check_header(const Profile& profile, const ProfileLimits& limits) {
  if (profile.runs < 1 || profile.runs > limits.max_runs)
    return make_error(Errc::kInvalid, "\"runs\" is not 1 to " + std::to_string(limits.max_runs));
  if (profile.layers.size() > limits.max_layers) return over("layers", limits.max_layers);
  if (profile.entries.size() > limits.max_entries) return over("entries", limits.max_entries);
  return {};
}

Result<void> check_entry(const Profile& profile, const ProfileEntry& entry, uint64_t last_us,
                         const ProfileLimits& limits) {
  const auto refuse = [](const char* rule) { return make_error(Errc::kInvalid, rule); };
  if (!valid_profile_path(entry.path)) return refuse("\"path\" is not absolute, clean and UTF-8");
  if (entry.layer && *entry.layer >= profile.layers.size())
    return refuse("\"layer\" is not in the list of layers");
  if (entry.range.offset > limits.max_file_offset || entry.range.length > limits.max_file_offset)
    return refuse("\"offset\" or \"length\" is over 2^53");
  if (entry.range.length == 0 && entry.range.offset != 0)
    return refuse("\"offset\" without \"length\"");
  if (entry.first_us < last_us) return refuse("\"us\" is less than that of the line before");
  if (entry.first_us > limits.max_file_offset) return refuse("\"us\" is over 2^53");
  if (entry.runs < 1 || entry.runs > profile.runs)
    return refuse("\"runs\" is not 1 to that of the first line");
  return {};
}

Json header_json(const Profile& profile) {
  Json json{{"dedup_profile", kVersion}};
  if (profile.image) json["image"] = profile.image->to_string();
  if (!profile.entrypoint.empty()) json["entrypoint"] = profile.entrypoint;
  json["source"] = name_of(profile.source);
  json["runs"] = profile.runs;
  Json layers = Json::array();
  for (const Digest& layer : profile.layers) layers.push_back(layer.to_string());
  json["layers"] = std::move(layers);
  json["entries"] = profile.entries.size();
  return json;
}

Json entry_json(const ProfileEntry& entry) {
  Json json;
  if (entry.layer) json["layer"] = *entry.layer;
  json["path"] = entry.path;
  if (entry.range.length != 0) {
    json["offset"] = entry.range.offset;
    json["length"] = entry.range.length;
  }
  json["us"] = entry.first_us;
  json["runs"] = entry.runs;
  return json;
}

struct Header {
  Profile profile;
  uint64_t entries = 0;
};

Result<Header> parse_header(std::string_view line, const ProfileLimits& limits) {
  TRY(json, FlatJson::parse(line));
  TRY(version, json.number("dedup_profile"));
  if (version != kVersion)
    return make_error(Errc::kUnsupported, "profile of version " + std::to_string(version));
  Header header;
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
  profile.runs = static_cast<uint32_t>(std::min<uint64_t>(runs, UINT32_MAX));
  TRY(layers, json.texts("layers"));
  for (const std::string& text : layers) {
    TRY(layer, Digest::parse(text));
    profile.layers.push_back(layer);
  }
  TRY(entries, json.number("entries"));
  header.entries = entries;
  TRY(check_header(profile, limits));
  if (entries > limits.max_entries) return over("entries", limits.max_entries);
  return header;
}

Result<ProfileEntry> parse_entry(std::string_view line) {
  TRY(json, FlatJson::parse(line));
  ProfileEntry entry;
  if (json.has("layer")) {
    TRY(layer, json.number("layer"));
    entry.layer = static_cast<uint32_t>(std::min<uint64_t>(layer, UINT32_MAX));
  }
  TRY(path, json.text("path"));
  entry.path = std::move(path);
  if (json.has("length") || json.has("offset")) {
    TRY(offset, json.number("offset"));
    TRY(length, json.number("length"));
    if (length == 0) return make_error(Errc::kInvalid, "\"length\" is 0");
    entry.range = {offset, length};
  }
  TRY(first_us, json.number("us"));
  TRY(runs, json.number("runs"));
  entry.first_us = first_us;
  entry.runs = static_cast<uint32_t>(std::min<uint64_t>(runs, UINT32_MAX));
  return entry;
}

// Lines of the text, each of which must be ended.
class Lines {
 public:
  Lines(std::string_view text, const ProfileLimits& limits) : x_rest(text), x_limits(limits) {}

  bool done() const { return x_rest.empty(); }
  Error at_line(Error error) const {
    return std::move(error).with("line " + std::to_string(x_number));
  }
  Result<std::string_view> next() {
    ++x_number;
    const size_t end = x_rest.find('\n');
    if (end == std::string_view::npos)
      return at_line(make_error(Errc::kCorruption, "the profile is cut off"));
    if (end > x_limits.max_line_bytes)
      return at_line(make_error(Errc::kNoSpace, "the line is too long"));
    const std::string_view line = x_rest.substr(0, end);
    x_rest.remove_prefix(end + 1);
    return line;
  }

 private:
  std::string_view x_rest;
  const ProfileLimits& x_limits;
  uint64_t x_number = 0;
};

using ZstdContext = std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)>;

Result<std::string> decompress(std::span<const std::byte> file, const ProfileLimits& limits) {
  const ZstdContext context(ZSTD_createDCtx(), &ZSTD_freeDCtx);
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
  ZSTD_inBuffer in{file.data(), file.size(), 0};
  std::string text;
  std::string piece(ZSTD_DStreamOutSize(), '\0');
  for (size_t left = 1; left != 0;) {
    ZSTD_outBuffer out{piece.data(), piece.size(), 0};
    left = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(left))
      return make_error(Errc::kCorruption,
                        std::string("not a profile: zstd: ") + ZSTD_getErrorName(left));
    text.append(piece, 0, out.pos);
    if (text.size() > limits.max_text_bytes) return over("bytes", limits.max_text_bytes);
    if (left != 0 && out.pos < out.size && in.pos == in.size)
      return make_error(Errc::kCorruption, "the profile is cut off");
  }
  if (in.pos != in.size) return make_error(Errc::kInvalid, "bytes behind the profile");
  return text;
}

}  // namespace

std::string_view name_of(ProfileSource source) {
  return kSources[static_cast<size_t>(source)];
}

Result<Profile> parse_profile_text(std::string_view text, const ProfileLimits& limits) {
  Lines lines(text, limits);
  TRY(first, lines.next());
  auto header = parse_header(first, limits);
  if (!header.ok()) return lines.at_line(std::move(header).error());
  Profile profile = std::move(header->profile);
  uint64_t last_us = 0;
  while (profile.entries.size() < header->entries) {
    TRY(line, lines.next());
    auto entry = parse_entry(line);
    if (!entry.ok()) return lines.at_line(std::move(entry).error());
    auto checked = check_entry(profile, *entry, last_us, limits);
    if (!checked.ok()) return lines.at_line(std::move(checked).error());
    last_us = entry->first_us;
    profile.entries.push_back(std::move(*entry));
  }
  if (!lines.done()) return make_error(Errc::kInvalid, "more lines than \"entries\" says");
  return profile;
}

Result<Profile> read_profile(std::span<const std::byte> file, const ProfileLimits& limits) {
  if (file.size() > limits.max_file_bytes) return over("bytes", limits.max_file_bytes);
  TRY(text, decompress(file, limits));
  return parse_profile_text(text, limits);
}

Result<std::string> profile_text(const Profile& profile, const ProfileLimits& limits) {
  TRY(check_header(profile, limits));
  // The command line of a process may be any bytes.
  constexpr auto kReplace = Json::error_handler_t::replace;
  std::string text = header_json(profile).dump(-1, ' ', false, kReplace) + "\n";
  if (text.size() > limits.max_line_bytes)
    return make_error(Errc::kNoSpace, "the first line is too long");
  uint64_t last_us = 0;
  for (const ProfileEntry& entry : profile.entries) {
    auto checked = check_entry(profile, entry, last_us, limits);
    if (!checked.ok()) return std::move(checked).error().with(entry.path);
    last_us = entry.first_us;
    text += entry_json(entry).dump() + "\n";
  }
  if (text.size() > limits.max_text_bytes) return over("bytes", limits.max_text_bytes);
  return text;
}

Result<Bytes> write_profile(const Profile& profile, const ProfileLimits& limits) {
  TRY(text, profile_text(profile, limits));
  Bytes file(ZSTD_compressBound(text.size()));
  const size_t bytes = ZSTD_compress(file.data(), file.size(), text.data(), text.size(), kLevel);
  if (ZSTD_isError(bytes)) return make_error(Errc::kInvalid, ZSTD_getErrorName(bytes));
  file.resize(bytes);
  if (bytes > limits.max_file_bytes) return over("bytes", limits.max_file_bytes);
  return file;
}

}  // namespace dedup
