#include "api/trace_routes.h"

#include <algorithm>
#include <optional>

#include "api/fields.h"
#include "pool/files.h"
#include "trace/profile_file.h"
#include "trace/profile_registry.h"

namespace dedup {
namespace {

using nlohmann::json;

// Container ids have no '/', names of images do, but for "oci:DIR" with a relative DIR, which the
// client makes absolute.
bool names_image(const std::string& target) {
  return target.find('/') != std::string::npos;
}

// Of that name, the one last written to first; not empty.
Task<Result<std::vector<TracedImage>>> recorded_images(Engine& engine, std::string ref) {
  CO_TRY(reference, Reference::parse(ref));
  const std::string name = reference.to_string();
  auto images = co_await engine.workers.run(Priority::kOnDemand,
                                            [&] { return engine.tracing.files().list(); });
  std::erase_if(images, [&name](const TracedImage& image) { return image.ref != name; });
  if (!images.empty()) co_return images;
  co_return make_error(Errc::kNotFound,
                       "nothing was recorded of " + name + ": dedupctl trace list shows of what");
}

// As its registry has it now; when that does not answer, as it was recorded.
Task<Result<TracedImage>> image_named(Engine& engine, std::string ref) {
  auto resolved = co_await engine.images.look_up(ref);
  if (resolved.ok()) co_return traced_image(*resolved);
  if (resolved.error().code != Errc::kUnavailable) co_return std::move(resolved).error();
  auto recorded = co_await recorded_images(engine, ref);
  if (recorded.ok()) co_return std::move(recorded->front());
  co_return std::move(resolved).error();
}

Task<Result<json>> post_traces(Engine& engine, ApiRequest request, ApiProgress) {
  Body body(request.body);
  const std::string target = body.text("target");
  CO_TRY(body.outcome());
  Recordings& recordings = engine.tracing.recordings();
  if (!recordings.unusable().empty())
    co_return make_error(Errc::kUnsupported, "nothing can be recorded: " + recordings.unusable());
  if (!names_image(target)) {
    CO_TRY(container, co_await recordings.start_container(target));
    co_return json{{"container", container}};
  }
  CO_TRY(image, co_await image_named(engine, target));
  recordings.start_image(image);
  co_return json{{"image", image.ref}};
}

Task<Result<json>> delete_traces(Engine& engine, ApiRequest request, ApiProgress) {
  CO_TRY(target, query_value(request, "target"));
  Recordings& recordings = engine.tracing.recordings();
  if (!names_image(target)) {
    CO_TRY(files, co_await recordings.stop_container(target));
    co_return json{{"files", files}};
  }
  CO_TRY(reference, Reference::parse(target));
  const auto images = recordings.recorded(reference.to_string());
  if (images.empty()) co_return make_error(Errc::kNotFound, target + " is not being recorded");
  std::vector<std::string> files;
  for (const Digest& image : images) {
    CO_TRY(written, co_await recordings.stop_image(image));
    files.insert(files.end(), written.begin(), written.end());
  }
  co_return json{{"files", files}};
}

json recorder_json(Recordings& recordings) {
  const RecorderCounts counts = recordings.counts();
  return {{"usable", recordings.unusable().empty()},
          {"reason", recordings.unusable()},
          {"attached", recordings.recorder_attached()},
          {"missing_tracepoints", recordings.missing_tracepoints()},
          {"events", counts.events},
          {"areas", counts.areas},
          {"dropped", counts.dropped}};
}

std::string kind_name(TraceKind kind) {
  switch (kind) {
    case TraceKind::kStart:
      return "start";
    case TraceKind::kPart:
      return "part";
    case TraceKind::kProfile:
      break;
  }
  return "profile";
}

struct ListedImage {
  TracedImage image;
  size_t starts = 0;
  std::vector<TraceFile> files;
};

json images_json(const std::vector<ListedImage>& images) {
  json list = json::array();
  for (const ListedImage& one : images) {
    json files = json::array();
    for (const TraceFile& file : one.files)
      files.push_back({{"path", file.path}, {"bytes", file.bytes}, {"kind", kind_name(file.kind)}});
    list.push_back({{"ref", one.image.ref},
                    {"manifest_digest", one.image.manifest ? one.image.manifest->to_string() : ""},
                    {"starts", one.starts},
                    {"files", std::move(files)}});
  }
  return list;
}

Task<Result<json>> get_traces(Engine& engine, ApiRequest, ApiProgress) {
  Recordings& recordings = engine.tracing.recordings();
  json active = json::array();
  for (const RecordingStatus& one : recordings.active()) {
    active.push_back({{"container", one.container},
                      {"ref", one.ref},
                      {"age_ms", one.age_ms},
                      {"touched_bytes", one.touched_bytes}});
  }
  json wanted = json::array();
  for (const TracedImage& image : recordings.wanted()) wanted.push_back(image.ref);
  std::vector<ListedImage> images;
  co_await engine.workers.run(Priority::kOnDemand, [&] {
    const TraceFiles& files = engine.tracing.files();
    for (TracedImage& image : files.list()) {
      const Digest key = image.key;
      images.push_back({std::move(image), files.starts(key), files.files(key)});
    }
  });
  co_return json{{"recorder", recorder_json(recordings)},
                 {"active", std::move(active)},
                 {"wanted", std::move(wanted)},
                 {"images", images_json(images)}};
}

// The newest recording of an image; or of a container, by its id, else by a beginning of it.
Result<json> start_json(const TraceFiles& files, const std::string& target,
                        const std::string& ref) {
  using Rank = std::pair<bool, std::string>;  // the very container, the time
  std::optional<std::pair<Rank, json>> best;
  for (const TracedImage& image : files.list()) {
    if (!ref.empty() && image.ref != ref) continue;
    for (const TraceFile& file : files.files(image.key)) {
      if (file.kind == TraceKind::kProfile) continue;
      if (ref.empty() && !file.container.starts_with(target)) continue;
      Rank rank{file.container == target, file.recorded};
      if (!best || best->first < rank)
        best = {std::move(rank), json{{"file", file.path}, {"ref", image.ref}}};
    }
  }
  if (best) return std::move(best->second);
  return make_error(Errc::kNotFound,
                    "no start of " + target + " was recorded: dedupctl trace list");
}

Task<Result<json>> get_start(Engine& engine, ApiRequest request, ApiProgress) {
  CO_TRY(target, query_value(request, "target"));
  std::string ref;
  if (names_image(target)) {
    CO_TRY(reference, Reference::parse(target));
    ref = reference.to_string();
  }
  co_return co_await engine.workers.run(
      Priority::kOnDemand, [&] { return start_json(engine.tracing.files(), target, ref); });
}

Task<Result<json>> get_profile(Engine& engine, ApiRequest request, ApiProgress) {
  CO_TRY(ref, query_value(request, "ref"));
  CO_TRY(images, co_await recorded_images(engine, ref));
  const TracedImage& image = images.front();
  co_return co_await engine.workers.run(Priority::kOnDemand, [&]() -> Result<json> {
    TRY(profile, engine.tracing.files().best(image));
    TRY(text, profile_text(profile));
    return json{{"ref", image.ref}, {"profile", std::move(text)}};
  });
}

Result<Profile> profile_for(const TracedImage& image, const std::string& file) {
  TRY(bytes, read_file(file, ProfileLimits{}.max_file_bytes));
  auto read = read_profile(bytes);
  if (!read.ok()) return std::move(read).error().with(file);
  Profile& profile = *read;
  for (const Digest& layer : profile.layers) {
    if (std::ranges::find(image.layers, layer) == image.layers.end())
      return make_error(Errc::kInvalid, "the profile is of another image than " + image.ref +
                                            ": it names layer " + layer.to_string());
  }
  return read;
}

Task<Result<json>> post_profiles(Engine& engine, ApiRequest request, ApiProgress) {
  Body body(request.body);
  const std::string ref = body.text("ref");
  const std::string file = body.text("file");
  CO_TRY(body.outcome());
  CO_TRY(image, co_await image_named(engine, ref));
  CO_TRY(path, co_await engine.workers.run(Priority::kOnDemand, [&]() -> Result<std::string> {
    TRY(profile, profile_for(image, file));
    return engine.tracing.files().put_list(image, profile);
  }));
  engine.tracing.warmup().changed(image.key);
  co_return json{{"file", path}};
}

Task<Result<json>> delete_profiles(Engine& engine, ApiRequest request, ApiProgress) {
  CO_TRY(ref, query_value(request, "ref"));
  CO_TRY(images, co_await recorded_images(engine, ref));
  CO_TRY(co_await engine.workers.run(Priority::kOnDemand, [&]() -> Result<void> {
    for (const TracedImage& image : images) TRY(engine.tracing.files().remove(image.key));
    return {};
  }));
  for (const TracedImage& image : images) engine.tracing.warmup().changed(image.key);
  co_await engine.tracing.recordings().reconsider();
  co_return json::object();
}

Task<Result<json>> post_profile_pulls(Engine& engine, ApiRequest request, ApiProgress) {
  Body body(request.body);
  const std::string ref = body.text("ref");
  CO_TRY(body.outcome());
  CO_TRY(image, co_await image_named(engine, ref));
  CO_TRY(reference, Reference::parse(image.ref));
  const Digest key = image.key;
  CO_TRY(path, co_await engine.tracing.warmup().pull(std::move(image), std::move(reference)));
  engine.tracing.warmup().changed(key);
  co_return json{{"file", path}};
}

Task<Result<json>> post_profile_pushes(Engine& engine, ApiRequest request, ApiProgress) {
  Body body(request.body);
  const std::string ref = body.text("ref");
  const std::string file = body.optional_text("file");
  CO_TRY(body.outcome());
  CO_TRY(image, co_await image_named(engine, ref));
  CO_TRY(reference, Reference::parse(image.ref));
  CO_TRY(profile, co_await engine.workers.run(Priority::kOnDemand, [&] {
    return file.empty() ? engine.tracing.files().merged_starts(image) : profile_for(image, file);
  }));
  const json counts{{"runs", profile.runs}, {"entries", profile.entries.size()}};
  CO_TRY(digest, co_await push_profile(engine.workers, engine.locations.source(reference),
                                       std::move(image), std::move(profile)));
  json answer = counts;
  answer["artifact"] = digest.to_string();
  co_return answer;
}

}  // namespace

std::vector<ApiRoute> make_trace_routes(Engine& engine) {
  static constexpr RouteRow kTable[] = {
      {"POST", "/v1/traces", false, post_traces},
      {"DELETE", "/v1/traces", false, delete_traces},
      {"GET", "/v1/traces", false, get_traces},
      {"GET", "/v1/traces/start", false, get_start},
      {"GET", "/v1/profiles", false, get_profile},
      {"POST", "/v1/profiles", false, post_profiles},
      {"DELETE", "/v1/profiles", false, delete_profiles},
      {"POST", "/v1/profiles/pulls", false, post_profile_pulls},
      {"POST", "/v1/profiles/pushes", false, post_profile_pushes},
  };
  return routes_of(engine, kTable);
}

}  // namespace dedup
