#include "trace/trace_files.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "pool/files.h"
#include "trace/profile_file.h"
#include "trace/profile_order.h"

namespace dedup {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStartPrefix = "start-";
constexpr std::string_view kPartPrefix = "part-";
constexpr std::string_view kSuffix = ".profile";
constexpr const char* kPulledName = "registry.profile";
constexpr const char* kListName = "list.profile";
constexpr const char* kImageName = "image.json";
constexpr uint64_t kMaxImageBytes = 256u << 10;
constexpr size_t kMaxNameBytes = 80;

std::string printable_part(const std::string& container) {
  std::string name = container.substr(0, kMaxNameBytes);
  for (char& c : name) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c == '-' || c == '_' || c == '.';
    if (!plain) c = '_';
  }
  return name;
}

// Sorts as time does.
std::string file_name(std::string_view prefix, const Profile& start) {
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  std::string digits = std::to_string(now);
  digits.insert(0, digits.size() < 15 ? 15 - digits.size() : 0, '0');
  const std::string container = printable_part(start.container);
  return std::string(prefix) + digits + (container.empty() ? "" : "-" + container) +
         std::string(kSuffix);
}

// The kernel reads ahead of what a container touches, and a reader waits for that, too. Such a
// fetch counts as touched when it began.
void add_waited_for(Profile& start) {
  using File = std::pair<std::optional<uint32_t>, std::string_view>;
  std::map<File, std::vector<ByteRange>> touched;
  for (const ProfileEntry& entry : start.entries)
    touched[{entry.layer, entry.path}].push_back(entry.range);
  std::vector<ProfileEntry> waited_for;
  for (const ProfileFetch& fetch : start.fetches) {
    if (fetch.by != FetchCause::kReader) continue;
    const auto& ranges = touched[{fetch.layer, fetch.path}];
    if (std::ranges::any_of(ranges, [&](ByteRange one) { return one.overlaps(fetch.range); }))
      continue;
    const uint64_t began_us = fetch.us - std::min(fetch.us, fetch.wait_us);
    const ByteRange block{fetch.range.offset, std::min(fetch.range.length, kProfileBlockBytes)};
    waited_for.push_back({fetch.layer, fetch.path, block,
                          began_us - std::min(began_us, start.prepared_us), start.runs});
  }
  start.entries.insert(start.entries.end(), waited_for.begin(), waited_for.end());
  start.entries = ordered(std::move(start.entries));
}

bool is_start(const std::string& name) {
  return name.starts_with(kStartPrefix) && name.ends_with(kSuffix);
}

// Of "start-TIME[-CONTAINER].profile" or "part-...".
TraceFile described(const fs::path& path) {
  std::error_code error;
  TraceFile file{path, fs::file_size(path, error), TraceKind::kProfile, "", ""};
  std::string name = path.stem();
  if (!name.starts_with(kStartPrefix) && !name.starts_with(kPartPrefix)) return file;
  file.kind = name.starts_with(kStartPrefix) ? TraceKind::kStart : TraceKind::kPart;
  name.erase(0, name.find('-') + 1);
  const size_t end = std::min(name.find('-'), name.size());
  file.recorded = name.substr(0, end);
  if (end < name.size()) file.container = name.substr(end + 1);
  return file;
}

std::vector<fs::path> entries_of(const std::string& directory) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error))
    paths.push_back(it->path());
  std::ranges::sort(paths, std::greater<>());
  return paths;
}

// Last written to first.
std::vector<fs::path> by_last_write(const std::string& directory) {
  std::vector<std::pair<fs::file_time_type, fs::path>> dated;
  for (const fs::path& path : entries_of(directory)) {
    std::error_code error;
    dated.emplace_back(fs::last_write_time(path, error), path);
  }
  std::ranges::sort(dated, std::greater<>());
  std::vector<fs::path> paths;
  for (auto& [time, path] : dated) paths.push_back(std::move(path));
  return paths;
}

nlohmann::json to_json(const TracedImage& image) {
  nlohmann::json object{{"ref", image.ref}, {"layers", nlohmann::json::array()}};
  if (image.manifest) object["manifest"] = image.manifest->to_string();
  for (const Digest& layer : image.layers) object["layers"].push_back(layer.to_string());
  return object;
}

Result<TracedImage> read_image(const std::string& path) {
  TRY(bytes, read_file(path, kMaxImageBytes));
  const auto object = nlohmann::json::parse(as_text(bytes), nullptr, false);
  const Error broken = make_error(Errc::kInvalid, path + " is not a description of an image");
  if (!object.is_object() || !object.contains("layers") || !object["layers"].is_array())
    return broken;
  TracedImage image;
  const auto text = [&object](const char* key) {
    return object.contains(key) && object[key].is_string() ? object[key].get<std::string>() : "";
  };
  image.ref = text("ref");
  if (const auto manifest = Digest::parse(text("manifest")); manifest.ok())
    image.manifest = *manifest;
  for (const auto& layer : object["layers"]) {
    const auto digest = Digest::parse(layer.is_string() ? layer.get<std::string>() : "");
    if (!digest.ok()) return broken;
    image.layers.push_back(*digest);
  }
  image.key = image_key(image.layers);
  return image;
}

}  // namespace

Digest image_key(const std::vector<Digest>& layers) {
  Sha256 hash;
  hash.update(as_bytes("image\n"));
  for (const Digest& layer : layers) hash.update(layer.bytes);
  return hash.finish();
}

std::string TraceFiles::directory_of(const Digest& key) const {
  return x_directory + "/" + key.hex().substr(0, 32);
}

Result<std::string> TraceFiles::add_start(const TracedImage& image, const Profile& start) {
  TRY(path, put(image, start, file_name(kStartPrefix, start)));
  drop_old(image.key, kStartPrefix);
  return path;
}

Result<std::string> TraceFiles::add_part(const TracedImage& image, const Profile& part) {
  TRY(path, put(image, part, file_name(kPartPrefix, part)));
  drop_old(image.key, kPartPrefix);
  return path;
}

Result<std::string> TraceFiles::put_pulled(const TracedImage& image, const Profile& profile) {
  return put(image, profile, kPulledName);
}

Result<std::string> TraceFiles::put_list(const TracedImage& image, const Profile& profile) {
  return put(image, profile, kListName);
}

Result<std::string> TraceFiles::put(const TracedImage& image, const Profile& profile,
                                    const std::string& name) {
  const std::string directory = directory_of(image.key);
  TRY(file, write_profile(profile));
  const std::lock_guard lock(x_writing);
  TRY(make_directories(directory));
  const std::string description = to_json(image).dump() + "\n";
  TRY(write_file_durably(directory + "/" + kImageName, as_bytes(description)));
  TRY(write_file_durably(directory + "/" + name, file));
  drop_old_images();
  return directory + "/" + name;
}

void TraceFiles::drop_old(const Digest& key, std::string_view prefix) const {
  size_t kept = 0;
  for (const fs::path& path : entries_of(directory_of(key))) {
    std::error_code error;
    if (path.filename().native().starts_with(prefix) && ++kept > x_limits.max_starts)
      fs::remove(path, error);
  }
}

void TraceFiles::drop_old_images() const {
  const auto images = by_last_write(x_directory);
  for (size_t i = x_limits.max_images; i < images.size(); ++i) {
    std::error_code error;
    fs::remove_all(images[i], error);
  }
}

size_t TraceFiles::starts(const Digest& key) const {
  size_t count = 0;
  for (const fs::path& path : entries_of(directory_of(key)))
    count += is_start(path.filename()) ? 1 : 0;
  return count;
}

std::vector<TraceFile> TraceFiles::files(const Digest& key) const {
  std::vector<TraceFile> files;
  for (const fs::path& path : entries_of(directory_of(key))) {
    if (path.extension() == kSuffix) files.push_back(described(path));
  }
  std::ranges::stable_sort(files, std::greater<>(), &TraceFile::recorded);
  return files;
}

std::optional<TracedImage> TraceFiles::image(const Digest& key) const {
  auto image = read_image(directory_of(key) + "/" + kImageName);
  if (!image.ok() || image->key != key) return std::nullopt;
  return std::move(*image);
}

std::vector<TracedImage> TraceFiles::list() const {
  std::vector<TracedImage> images;
  for (const fs::path& path : by_last_write(x_directory)) {
    auto image = read_image(path / kImageName);
    if (image.ok()) images.push_back(std::move(*image));
  }
  return images;
}

std::optional<Profile> TraceFiles::usable(const std::string& path, const TracedImage& image) const {
  const auto file = read_file(path, ProfileLimits{}.max_file_bytes);
  if (!file.ok() && file.error().code == Errc::kNotFound) return std::nullopt;
  auto profile = file.ok() ? read_profile(*file) : Result<Profile>(file.error());
  if (!profile.ok()) {
    x_log.warn("a profile is not usable", {{"file", path}, {"error", profile.error()}});
    return std::nullopt;
  }
  for (const Digest& layer : profile->layers) {
    if (std::ranges::find(image.layers, layer) != image.layers.end()) continue;
    x_log.warn("a profile is of another image",
               {{"file", path}, {"image", image.ref}, {"layer", layer.to_string()}});
    return std::nullopt;
  }
  return std::move(*profile);
}

std::vector<Profile> TraceFiles::read_starts(const TracedImage& image) const {
  std::vector<Profile> starts;
  for (const fs::path& path : entries_of(directory_of(image.key))) {
    if (!is_start(path.filename())) continue;
    if (auto start = usable(path, image)) starts.push_back(std::move(*start));
  }
  return starts;
}

Result<Profile> TraceFiles::merged_starts(const TracedImage& image) const {
  using Kind = std::pair<ProfileSource, std::vector<std::string>>;
  std::map<Kind, std::vector<Profile>> groups;
  std::vector<Kind> newest;  // first seen first: starts come newest first
  for (Profile& start : read_starts(image)) {
    start.image = image.manifest;  // of the same layers, whatever it was called then
    add_waited_for(start);
    const Kind kind{start.source, start.entrypoint};
    auto& group = groups[kind];
    if (group.empty()) newest.push_back(kind);
    group.push_back(std::move(start));
  }
  if (newest.empty())
    return make_error(Errc::kNotFound, "no start of " + image.ref + " was recorded");
  const auto largest = std::ranges::max_element(
      newest, {}, [&groups](const Kind& kind) { return groups[kind].size(); });
  std::vector<Profile>& group = groups[*largest];
  auto merged = merge_profiles(group);
  // As many of the newest as can be looked at together.
  while (!merged.ok() && merged.error().code == Errc::kNoSpace && group.size() > 1) {
    group.resize((group.size() + 1) / 2);
    merged = merge_profiles(group);
  }
  return merged;
}

Result<Profile> TraceFiles::best(const TracedImage& image) const {
  auto own = merged_starts(image);
  if (!own.ok() && own.error().code != Errc::kNotFound)
    x_log.warn("starts cannot be merged", {{"image", image.ref}, {"error", own.error()}});
  auto pulled = usable(directory_of(image.key) + "/" + kPulledName, image);
  if (own.ok() && (!pulled || own->runs >= pulled->runs)) return own;
  if (pulled) return std::move(*pulled);
  auto list = usable(directory_of(image.key) + "/" + kListName, image);
  if (list) return std::move(*list);
  return make_error(Errc::kNotFound, "no profile of " + image.ref);
}

Result<void> TraceFiles::remove(const Digest& key) {
  const std::lock_guard lock(x_writing);
  std::error_code error;
  if (fs::remove_all(directory_of(key), error) == 0 || error)
    return make_error(Errc::kNotFound, "nothing was recorded of this image");
  return {};
}

}  // namespace dedup
