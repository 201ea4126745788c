#include "api/routes.h"

#include <unistd.h>

#include <fstream>

#include "api/fields.h"
#include "api/trace_routes.h"
#include "doors/process_id.h"

namespace dedup {
namespace {

using nlohmann::json;

json image_json(const ImageSummary& image) {
  return {{"ref", image.record.ref},
          {"manifest_digest", image.record.manifest_digest.to_string()},
          {"layers", image.record.layers.size()},
          {"compressed_bytes", image.compressed_bytes},
          {"bytes", image.bytes},
          {"present_bytes", image.present_bytes},
          {"formats", image.formats},
          {"mounts", image.mounts}};
}

const char* state_name(LayerProgress::State state) {
  switch (state) {
    case LayerProgress::State::kWaiting:
      return "waiting";
    case LayerProgress::State::kFetching:
      return "fetching";
    case LayerProgress::State::kReady:
      return "ready";
  }
  return "?";
}

Images::Progress layer_progress(ApiProgress progress) {
  return [progress = std::move(progress)](const LayerProgress& state) {
    progress({{"layer", state.layer.to_string()},
              {"state", state_name(state.state)},
              {"done_bytes", state.done_bytes},
              {"total_bytes", state.total_bytes}});
  };
}

// "VmRSS: 1234 kB" of /proc/self/status, in bytes.
uint64_t memory_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":"))
      return std::strtoull(line.c_str() + field.size() + 1, nullptr, 10) * 1024;
  }
  return 0;
}

Task<Result<json>> post_layers(Engine& engine, ApiRequest request, ApiProgress) {
  Body body(request.body);
  const std::string ref = body.text("ref");
  const std::string holder = body.text("holder");
  const Digest layer = body.digest("layer_digest");
  const auto manifest = body.optional_digest("manifest_digest");
  auto hint = body.digests("layers");
  CO_TRY(body.outcome());
  CO_TRY(prepared,
         co_await engine.images.prepare_layer(ref, manifest, layer, std::move(hint), holder));
  co_return json{
      {"layer", layer.to_string()}, {"format", prepared.record.format}, {"lazy", prepared.lazy}};
}

Task<Result<json>> post_imports(Engine& engine, ApiRequest request, ApiProgress) {
  Body body(request.body);
  const std::string directory = body.text("directory");
  const std::string holder = body.text("holder");
  CO_TRY(body.outcome());
  CO_TRY(layer, co_await engine.images.import_directory(directory, holder));
  co_return json{{"layer", layer.to_string()}};
}

Task<Result<json>> post_chains(Engine& engine, ApiRequest request, ApiProgress) {
  Body body(request.body);
  auto layers = body.digests("layers");
  const bool keep_whiteouts = body.flag("keep_whiteouts");
  const std::string holder = body.text("holder");
  CO_TRY(body.outcome());
  CO_TRY(mountpoint, co_await engine.images.mount_chain(std::move(layers), keep_whiteouts, holder));
  co_return json{{"mountpoint", mountpoint}};
}

Task<Result<json>> delete_holders(Engine& engine, ApiRequest request, ApiProgress) {
  CO_TRY(holder, query_value(request, "holder"));
  CO_TRY(freed_bytes, co_await engine.images.release(holder));
  co_return json{{"freed_bytes", freed_bytes}};
}

Task<Result<json>> get_holders(Engine& engine, ApiRequest request, ApiProgress) {
  const std::string prefix = request.query["prefix"];
  CO_TRY(names, co_await engine.workers.run(Priority::kOnDemand,
                                            [&] { return engine.store.holders(prefix); }));
  co_return json{{"holders", names}};
}

Task<Result<json>> post_pulls(Engine& engine, ApiRequest request, ApiProgress progress) {
  Body body(request.body);
  const std::string ref = body.text("ref");
  CO_TRY(body.outcome());
  CO_TRY(image, co_await engine.images.pull(ref, layer_progress(std::move(progress))));
  co_return json{{"image", image_json(image)}};
}

Task<Result<json>> get_images(Engine& engine, ApiRequest, ApiProgress) {
  CO_TRY(images, co_await engine.images.list());
  json list = json::array();
  for (const ImageSummary& image : images) list.push_back(image_json(image));
  co_return json{{"images", std::move(list)}};
}

Task<Result<json>> delete_images(Engine& engine, ApiRequest request, ApiProgress) {
  CO_TRY(ref, query_value(request, "ref"));
  CO_TRY(freed_bytes, co_await engine.images.remove(ref));
  co_return json{{"freed_bytes", freed_bytes}};
}

Task<Result<json>> post_mounts(Engine& engine, ApiRequest request, ApiProgress progress) {
  Body body(request.body);
  const std::string ref = body.text("ref");
  const std::string target = body.text("target");
  CO_TRY(body.outcome());
  if (!target.starts_with("/"))
    co_return make_error(Errc::kInvalid, "the target must be an absolute path");
  CO_TRY(image, co_await engine.images.mount(ref, target, layer_progress(std::move(progress))));
  co_return json{{"image", image_json(image)}, {"target", target}};
}

Task<Result<json>> delete_mounts(Engine& engine, ApiRequest request, ApiProgress) {
  CO_TRY(target, query_value(request, "target"));
  CO_TRY(co_await engine.images.unmount(target));
  co_return json::object();
}

Task<Result<json>> chains_json(Engine& engine) {
  json list = json::array();
  for (const ChainStatus& chain : engine.chains.status()) {
    const Digest id = chain.record.id;
    CO_TRY(holders, co_await engine.workers.run(Priority::kOnDemand, [&engine, id] {
      return engine.store.chain_holders(id);
    }));
    list.push_back({{"chain", id.to_string()},
                    {"mountpoint", chain.mountpoint},
                    {"layers", chain.record.layers.size()},
                    {"holders", holders},
                    {"complete", chain.complete}});
  }
  co_return list;
}

json segments_json(const Engine& engine) {
  size_t total = 0;
  size_t complete = 0;
  for (const auto& segment : engine.pool.segments()) {
    ++total;
    complete += segment->complete() ? 1u : 0u;
  }
  return {{"total", total}, {"complete", complete}, {"marked", engine.door.attached()}};
}

json guard_json(const Guard* guard) {
  if (guard == nullptr) return nullptr;
  const Guard::Status status = guard->status();
  return {{"armed", status.armed}, {"lost", status.lost}, {"killed", status.killed}};
}

Task<Result<json>> get_status(Engine& engine, ApiRequest, ApiProgress) {
  CO_TRY(chains, co_await chains_json(engine));
  const KeptHeader& kept = engine.link.header();
  const DoorCounters& door = engine.door.counters();
  const HttpCounters& http = engine.http.counters();
  const FetchCounters& fetch = engine.pool.fetch_counters();
  const auto uptime = std::chrono::steady_clock::now() - engine.started;
  co_return json{
      {"version", engine.version},
      {"pid", ::getpid()},
      {"keeper_pid", kept.keeper.pid.load()},
      {"witness_pid", kept.witness.pid.load()},
      {"holders", engine.link.has_keeper() ? live_holders(kept) : 1u},
      {"uptime_s", std::chrono::duration_cast<std::chrono::seconds>(uptime).count()},
      {"root", engine.root},
      {"door", engine.door_name},
      {"door_reason", engine.door_reason},
      {"guard", guard_json(engine.guard)},
      {"chains", std::move(chains)},
      {"segments", segments_json(engine)},
      {"events",
       {{"answered", door.answered}, {"denied", door.denied}, {"recovered", door.recovered}}},
      {"fetch",
       {{"bytes", http.body_bytes},
        {"requests", http.requests},
        {"chunk_bytes", fetch.blob_bytes},
        {"chunks", fetch.pieces},
        {"errors", fetch.failures},
        {"retries", fetch.retries},
        {"digest_mismatches", fetch.digest_mismatches}}},
      {"worker_restarts", kept.worker_starts.load() > 0 ? kept.worker_starts.load() - 1 : 0},
      {"memory",
       {{"rss_bytes", memory_bytes("VmRSS")}, {"peak_rss_bytes", memory_bytes("VmHWM")}}}};
}

Task<Result<json>> get_pool(Engine& engine, ApiRequest, ApiProgress) {
  CO_TRY(totals, co_await engine.pool.totals());
  CO_TRY(images, co_await engine.workers.run(Priority::kOnDemand,
                                             [&engine] { return engine.store.images(); }));
  co_return json{{"chunks", totals.catalog.chunks},
                 {"bytes", totals.catalog.bytes},
                 {"present_bytes", totals.present_bytes},
                 {"disk_bytes", totals.disk_bytes},
                 {"shared_chunks", totals.catalog.shared_chunks},
                 {"shared_bytes", totals.catalog.shared_bytes},
                 {"saved_bytes", totals.catalog.saved_bytes},
                 {"segments", totals.catalog.segments},
                 {"layers", totals.catalog.layers},
                 {"images", images.size()},
                 {"free_bytes", totals.free_bytes}};
}

Task<Result<json>> post_checks(Engine& engine, ApiRequest request, ApiProgress progress) {
  Body body(request.body);
  const bool repair = body.flag("repair");
  CO_TRY(body.outcome());
  const std::function<void(uint64_t, uint64_t)> report_progress = [progress](uint64_t checked,
                                                                             uint64_t total) {
    progress({{"checked_bytes", checked}, {"total_bytes", total}});
  };
  CO_TRY(report, co_await engine.pool.check(repair, report_progress));
  json bad = json::array();
  for (const CheckReport::Bad& one : report.bad) {
    json item{{"digest", one.digest.to_string()},
              {"segment", one.segment},
              {"offset", one.offset},
              {"bytes", one.bytes}};
    if (repair) {
      // At once, not on the next touch: a mount made while the segment was complete raises no
      // events for it.
      auto outcome =
          co_await engine.pool.ensure(one.segment, {one.offset, one.bytes}, Priority::kOnDemand);
      item["repaired"] = outcome.ok();
      if (!outcome.ok()) item["error"] = outcome.error().to_string();
    }
    bad.push_back(std::move(item));
  }
  co_return json{{"checked_chunks", report.checked_pieces},
                 {"checked_bytes", report.checked_bytes},
                 {"missing_bytes", report.missing_bytes},
                 {"clean", bad.empty()},
                 {"bad", std::move(bad)}};
}

}  // namespace

std::vector<ApiRoute> make_routes(Engine& engine) {
  static constexpr RouteRow kTable[] = {
      {"POST", "/v1/layers", false, post_layers},
      {"POST", "/v1/imports", false, post_imports},
      {"POST", "/v1/chains", false, post_chains},
      {"GET", "/v1/holders", false, get_holders},
      {"DELETE", "/v1/holders", false, delete_holders},
      {"POST", "/v1/pulls", true, post_pulls},
      {"GET", "/v1/images", false, get_images},
      {"DELETE", "/v1/images", false, delete_images},
      {"POST", "/v1/mounts", true, post_mounts},
      {"DELETE", "/v1/mounts", false, delete_mounts},
      {"GET", "/v1/status", false, get_status},
      {"GET", "/v1/pool", false, get_pool},
      {"POST", "/v1/checks", true, post_checks},
  };
  std::vector<ApiRoute> routes = routes_of(engine, kTable);
  for (ApiRoute& route : make_trace_routes(engine)) routes.push_back(std::move(route));
  return routes;
}

std::vector<ApiRoute> routes_of(Engine& engine, std::span<const RouteRow> table) {
  std::vector<ApiRoute> routes;
  for (const RouteRow& row : table) {
    routes.push_back({row.method, row.path, row.streaming,
                      [&engine, handler = row.handler](ApiRequest request, ApiProgress progress) {
                        return handler(engine, std::move(request), std::move(progress));
                      }});
  }
  return routes;
}

}  // namespace dedup
