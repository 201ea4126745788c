// dedupd: the only wiring file. Without arguments it is the keeper, which starts `dedupd worker`;
// the worker builds the engine bottom up and takes it down in reverse.
//
// Exit status: 0 stopped, 69 this kernel has no usable door, 73 another dedupd holds the root, 78
// the configuration is wrong, 1 anything else.

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "api/routes.h"
#include "base/systemd.h"
#include "cli/config.h"
#include "doors/guard_holder.h"
#include "doors/process_id.h"
#include "image/door_choice.h"
#include "image/images.h"
#include "keeper/keeper.h"
#include "pool/files.h"
#include "trace/tracing.h"

namespace dedup {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitNoDoor = 69;
constexpr int kExitLocked = 73;
constexpr int kExitConfig = 78;
constexpr std::chrono::seconds kHolderInterval{1};
constexpr unsigned kWantedHolders = 3;  // keeper, witness, worker

// Joins the two worlds that must not know each other: doors ask, the pool answers.
class PoolFiller final : public SegmentFiller {
 public:
  PoolFiller(Pool& pool, DoorTrial& trial) : x_pool(pool), x_trial(trial) {}
  bool present(uint32_t segment, ByteRange range) override {
    if (segment == kZeroSegment) return true;
    if (segment == DoorTrial::kSegment) return x_trial.present();
    x_pool.touch(segment, range);
    return x_pool.present(segment, range);
  }
  Task<Result<void>> ensure(uint32_t segment, ByteRange range, Priority priority) override {
    if (segment == kZeroSegment) co_return Result<void>();
    if (segment == DoorTrial::kSegment) co_return x_trial.fill();
    co_return co_await x_pool.ensure(segment, range, priority);
  }

 private:
  Pool& x_pool;
  DoorTrial& x_trial;
};

std::vector<DoorKind> wanted_doors(DoorSetting setting) {
  switch (setting) {
    case DoorSetting::kCachefiles:
      return {DoorKind::kCachefiles};
    case DoorSetting::kFanotify:
      return {DoorKind::kFanotify};
    case DoorSetting::kFuse:
      return {DoorKind::kFuse};
    case DoorSetting::kAuto:
      break;
  }
  return {std::begin(kDoorKinds), std::end(kDoorKinds)};
}

SourceOptions source_options(const Config& config) {
  SourceOptions options;
  for (const auto& [host, registry] : config.registries) {
    options.hosts[host] = {registry.plain_http, registry.ca_file, registry.mirrors};
  }
  options.docker_config = config.docker_config;
  options.retries = static_cast<unsigned>(config.fetch.retries);
  options.max_retry_after = std::chrono::milliseconds(config.fetch.max_retry_after_ms);
  options.stall_timeout = std::chrono::milliseconds(config.fetch.stall_timeout_ms);
  return options;
}

LayerLimits layer_limits(const Config& config) {
  LayerLimits limits;
  limits.max_entries = config.limits.max_entries;
  limits.max_file_bytes = config.limits.max_file_bytes;
  limits.max_uncompressed_bytes = config.limits.max_uncompressed_bytes;
  limits.max_toc_bytes = config.limits.max_toc_bytes;
  limits.max_chunk_bytes = config.limits.max_chunk_bytes;
  return limits;
}

PoolOptions pool_options(const Config& config, const KeptLink& link) {
  PoolOptions options;
  options.directory = config.root + "/pool";
  options.chunk_bytes = static_cast<uint32_t>(config.chunk_bytes);
  options.fetch.coalesce = {config.fetch.coalesce_gap_bytes, config.fetch.coalesce_max_bytes};
  options.fetch.background_coalesce.max_gap_bytes = config.prefetch.coalesce_gap_bytes;
  options.readahead_bytes = config.fetch.readahead_bytes;
  options.readaround_bytes = config.fetch.readaround_bytes;
  options.fetch.max_reads = static_cast<unsigned>(config.fetch.max_transfers);
  options.fetch.max_bytes = config.fetch.memory_bytes;
  // A quarter of the connections stays free for blocked readers.
  const uint64_t connections =
      std::min(config.fetch.max_connections_per_host, config.fetch.max_transfers);
  options.fetch.max_background_reads =
      static_cast<unsigned>(std::max<uint64_t>(connections * 3 / 4, 1));
  options.fetch.max_background_bytes = config.fetch.memory_bytes / 2;
  options.min_free_bytes = config.limits.min_free_bytes;
  options.max_bytes = config.limits.max_pool_bytes;
  for (const KeptLink::Kept& kept : link.kept()) options.kept_fds[kept.segment] = kept.fd;
  return options;
}

TracingOptions tracing_options(const Config& config) {
  TracingOptions options;
  const PrefetchConfig& prefetch = config.prefetch;
  options.directory = prefetch.trace_dir.empty() ? config.root + "/traces" : prefetch.trace_dir;
  options.prefetch_enabled = prefetch.enabled;
  options.recording.automatic_starts = static_cast<unsigned>(config.trace.auto_starts);
  options.recording.max_time = std::chrono::milliseconds(config.trace.max_time_ms);
  options.recording.quiet_time = std::chrono::milliseconds(config.trace.quiet_time_ms);
  options.prefetch.workers = static_cast<unsigned>(prefetch.workers);
  options.prefetch.coalesce.max_gap_bytes = prefetch.coalesce_gap_bytes;
  options.prefetch.max_bytes_per_s = prefetch.max_bytes_per_s;
  options.warmup.from_registry = prefetch.from_registry;
  options.warmup.fill = prefetch.fill;
  options.warmup.max_ranges = prefetch.queue_size;
  return options;
}

// The engine of one worker. Members are built in this order and destroyed in reverse.
class Worker {
 public:
  Worker(Config config, Log& log) : x_config(std::move(config)), x_log(log) {}

  // errors  anything that keeps the daemon from serving
  Result<void> open() {
    // First of all: it occupies the fd numbers of events a dead worker had read, before anything
    // here can get one.
    TRY(link, KeptLink::from_environment());
    x_link = std::move(link);
    TRY(ring, Ring::open());
    x_ring = std::move(ring);
    const uint64_t threads = x_config.worker_threads != 0
                                 ? x_config.worker_threads
                                 : std::max<uint64_t>(4, std::thread::hardware_concurrency());
    x_workers.emplace(*x_ring, static_cast<unsigned>(threads));
    TRY(http, HttpClient::open(
                  *x_ring, {.max_connections_per_host =
                                static_cast<unsigned>(x_config.fetch.max_connections_per_host),
                            .max_transfers = static_cast<unsigned>(x_config.fetch.max_transfers)}));
    x_http = std::move(http);
    x_sources.emplace([this, options = source_options(x_config)](const Reference& reference) {
      if (reference.kind == Reference::Kind::kOciLayout)
        return make_layout_source(*x_workers, x_log, reference);
      return make_registry_source(*x_ring, *x_http, x_log, options, reference);
    });
    TRY(pool, Pool::open(*x_ring, *x_workers, x_log, *x_sources, pool_options(x_config, *x_link)));
    x_pool = std::move(pool);
    x_trial.emplace(*x_workers, x_config.root);
    x_filler.emplace(*x_pool, *x_trial);
    TRY(store, ImageStore::open(x_pool->catalog().database()));
    x_store = std::move(store);
    x_tracing.emplace(*x_ring, *x_workers, x_log, *x_pool, *x_sources, tracing_options(x_config));
    x_layers.emplace(*x_ring, *x_workers, x_log, *x_pool, *x_store, *x_sources, layer_options());
    return x_layers->load_locations();
  }

  int run() {
    x_ring->post([this] { x_tasks.spawn(begin()); });
    x_ring->run();
    return x_exit_status;
  }

 private:
  Task<void> begin() {
    auto outcome = co_await open_door();
    if (outcome.ok()) outcome = build_on_the_door();
    if (!outcome.ok()) {
      x_log.error(outcome.error().to_string());
      x_exit_status = outcome.error().code == Errc::kUnsupported ? kExitNoDoor : kExitFailed;
      x_ring->stop();
      co_return;
    }
    x_tasks.spawn(serve());
    x_tasks.spawn(watch_signals());
    x_tasks.spawn(watch_keeper());
    x_tasks.spawn(watch_holders());
  }

  LayerOptions layer_options() {
    LayerOptions options;
    options.limits = layer_limits(x_config);
    options.on_landmark = [this](const LayerRecord& layer, ByteRange blob) {
      x_tracing->landmark(layer, blob);
    };
    return options;
  }

  // The first worker tries which door works; later ones serve what is mounted behind it.
  Task<Result<void>> open_door() {
    const DoorContext context{*x_ring, *x_workers, x_log, *x_filler, *x_link, x_config.root};
    if (const uint32_t kept_kind = x_link->header().door.load(); kept_kind != 0) {
      const auto kind = static_cast<DoorKind>(kept_kind);
      auto opened = dedup::open_door(kind, context);
      if (opened.ok()) x_door = std::move(*opened);
      x_door_kind = kind;
      x_door_reason = "as the first worker found";
      co_return opened.ok() ? Result<void>() : opened.error();
    }
    const std::vector<DoorKind> kinds = wanted_doors(x_config.door);
    ChosenDoor chosen = co_await choose_door(kinds, false, context, *x_trial);
    for (const DoorVerdict& verdict : chosen.verdicts) {
      x_log.info(verdict.usable ? "door taken" : "door refused",
                 {{"door", name_of(verdict.kind)}, {"reason", verdict.reason}});
    }
    if (chosen.door == nullptr) {
      co_return make_error(Errc::kUnsupported,
                           "no way to load images lazily works here. " + chosen.refusals());
    }
    x_door_reason = chosen.verdicts.back().reason;
    x_door = std::move(chosen.door);
    x_door_kind = chosen.kind;
    x_door_started = true;
    co_return Result<void>();
  }

  // Only a door that fails open needs one.
  void open_guard() {
    if (x_door->fails_closed() || !x_link->has_keeper()) return;
    auto guard = Guard::open(guard_directory(x_config.root), x_link->header(), x_log);
    if (guard.ok()) {
      x_guard = std::move(*guard);
      return;
    }
    x_log.warn("no guard: if every process of dedupd is killed, incomplete images show holes",
               {{"reason", guard.error()}});
  }

  Result<void> build_on_the_door() {
    open_guard();
    ChainOptions chain_options;
    chain_options.directory = x_config.root;
    chain_options.directio = x_config.mount_directio;
    chain_options.keep_idle = std::chrono::milliseconds(x_config.mount_keep_idle_ms);
    x_tracing->watch_mounts(chain_options);
    x_chains.emplace(*x_ring, *x_workers, x_log, *x_pool, *x_store, *x_door, x_guard.get(),
                     std::move(chain_options));
    x_pool->on_complete(
        [this](const std::shared_ptr<Segment>& segment) { x_chains->segment_complete(segment); });
    // What an earlier life of the door left mounted is dealt with once.
    KeptHeader& header = x_link->header();
    const bool fresh = header.recovered.load() == 0;
    if (x_door_kind == DoorKind::kCachefiles) TRY(x_pool->write_whole_blocks(fresh));
    TRY(x_chains->recover(fresh));
    header.door.store(static_cast<uint32_t>(x_door_kind));
    header.recovered.store(1);
    if (!x_door_started) x_door->start();
    x_images.emplace(*x_ring, *x_workers, x_log, *x_pool, *x_store, *x_sources, *x_layers,
                     *x_chains, x_tracing->image_events());
    x_engine.emplace(Engine{*x_pool, *x_images, *x_chains, *x_store, *x_tracing, *x_sources,
                            *x_workers, *x_door, *x_link, x_guard.get(), *x_http, DEDUP_VERSION,
                            x_config.root, x_door->name(), x_door_reason,
                            std::chrono::steady_clock::now()});
    return {};
  }

  Task<void> serve() {
    x_tasks.spawn(x_tracing->open());
    co_await x_images->recover();
    std::vector<ApiRoute> routes = make_routes(*x_engine);
    for (ApiRoute& route : routes) {
      route.handler = [this, handler = std::move(route.handler)](ApiRequest request,
                                                                 ApiProgress progress) {
        return x_stopping ? refuse() : handler(std::move(request), std::move(progress));
      };
    }
    auto server = co_await x_workers->run(Priority::kOnDemand, [&] {
      return ApiServer::open(*x_ring, x_log, x_config.socket, std::move(routes));
    });
    if (!server.ok()) {
      x_log.error("the control API cannot be served", {{"error", server.error()}});
      x_exit_status = kExitFailed;
      x_ring->stop();
      co_return;
    }
    x_server = std::move(*server);
    x_log.info("ready", {{"root", x_config.root},
                         {"socket", x_config.socket},
                         {"door", x_engine->door_name},
                         {"segments", x_pool->segments().size()},
                         {"mounts", x_chains->mounted()},
                         {"worker_starts", x_link->header().worker_starts.load()}});
    Systemd::from_environment().send("READY=1\n");
  }

  static Task<Result<nlohmann::json>> refuse() {
    co_return make_error(Errc::kUnavailable, "dedupd is stopping");
  }

  Task<void> watch_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    const UniqueFd fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    co_await x_ring->poll(fd.get(), POLLIN);
    co_await stop();
  }

  // The keeper is what makes a worker's death harmless. Without it this worker serves on, but
  // mounts nothing new; a new dedupd takes over from it.
  Task<void> watch_keeper() {
    if (!x_link->has_keeper()) co_return;
    co_await x_ring->poll(x_link->keeper_fd(), POLLIN);
    if (x_stopping) co_return;
    x_log.error("the keeper is gone", {{"advice", "start dedupd: it takes over at once"}});
  }

  // The alarm for the state in which one more death opens the door.
  Task<void> watch_holders() {
    if (!x_link->has_keeper()) co_return;
    unsigned before = kWantedHolders;
    while (!x_stopping) {
      co_await x_ring->sleep(kHolderInterval);
      if (x_guard != nullptr) x_guard->refresh();
      const unsigned now = live_holders(x_link->header());
      if (now < 2 && before >= 2 && !x_stopping) {
        x_log.error(
            "only this process holds the kernel's queues: if it dies, incomplete images fail",
            {{"holders", now}, {"advice", "start dedupd: it takes over at once"}});
      }
      before = now;
    }
  }

  // Safe at every step: what is not finished when the process ends is swept or fetched again by the
  // next one.
  Task<void> stop() {
    x_stopping = true;
    x_log.info("stopping");
    x_tracing->stop();
    co_await x_chains->close(std::chrono::milliseconds(x_config.stop_timeout_ms));
    co_await x_pool->close();
    co_await x_tracing->close();
    const bool closed = co_await x_chains->close_against_readers();
    if (closed && x_guard != nullptr) x_guard->remove();
    co_await x_door->stop();
    x_log.info("stopped", {{"mounts_in_use", x_chains->mounted()}});
    // Handlers of long calls may still run on API threads; nothing they do needs an end.
    ::_exit(0);
  }

  Config x_config;
  Log& x_log;
  bool x_stopping = false;
  int x_exit_status = 0;
  std::unique_ptr<KeptLink> x_link;
  std::unique_ptr<Ring> x_ring;
  std::optional<Workers> x_workers;
  std::unique_ptr<HttpClient> x_http;
  std::optional<Locations> x_sources;
  std::unique_ptr<Pool> x_pool;
  std::optional<DoorTrial> x_trial;
  std::optional<PoolFiller> x_filler;
  std::unique_ptr<Door> x_door;
  std::string x_door_reason;
  DoorKind x_door_kind{};
  bool x_door_started = false;
  std::unique_ptr<Guard> x_guard;
  std::unique_ptr<ImageStore> x_store;
  std::optional<Tracing> x_tracing;
  std::optional<Layers> x_layers;
  std::optional<Chains> x_chains;
  std::optional<Images> x_images;
  std::optional<Engine> x_engine;
  std::unique_ptr<ApiServer> x_server;
  TaskScope x_tasks;
};

int fail(Log& log, const Error& error, int status) {
  log.error(error.to_string());
  return status;
}

// Before any thread starts: the worker takes these through its signalfd, and a gone API client must
// not kill it.
void block_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGIO,
              SIG_IGN);  // somebody opened a file in the moment metadata_image_in_use had a lease
}

int run_worker(Config config, Log& log) {
  block_signals();
  ::mallopt(
      M_ARENA_MAX,
      2);  // one heap per thread would keep the buffers of every worker and API thread for ever
  Worker worker(std::move(config), log);
  auto outcome = worker.open();
  if (!outcome.ok()) return fail(log, outcome.error(), kExitFailed);
  return worker.run();
}

// The pid inside is for people only.
Result<void> sign_lock(int lock, const std::string& root) {
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock, 0) != 0) return errno_error(errno, "write " + root + "/lock");
  return write_exactly(lock, as_bytes(pid), 0, root + "/lock");
}

int run_as_keeper(const Config& config, const std::string& config_file, Log& log) {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  auto made = make_directories(config.root);
  if (!made.ok()) return fail(log, made.error(), kExitFailed);
  auto claim = claim_root(config.root, log);
  if (!claim.ok()) {
    return fail(log, claim.error(),
                claim.error().code == Errc::kExists ? kExitLocked : kExitFailed);
  }
  auto signed_lock = sign_lock(claim->lock.get(), config.root);
  if (!signed_lock.ok()) return fail(log, signed_lock.error(), kExitFailed);
  KeeperOptions options;
  options.want_fanotify =
      config.door == DoorSetting::kAuto || config.door == DoorSetting::kFanotify;
  options.worker_arguments = {"/proc/self/exe", "worker"};
  if (!config_file.empty())
    options.worker_arguments.insert(options.worker_arguments.end(), {"--config", config_file});
  options.claim = std::move(*claim);
  options.guard_directory = guard_directory(config.root);
  return run_keeper(std::move(options), log);
}

int run(int argc, char** argv) {
  CLI::App app{"dedupd: serves container images lazily from a node-wide deduplicated pool"};
  std::string config_file;
  bool print = false;
  app.add_option("--config", config_file,
                 "Configuration file (JSON); default " + std::string(kDefaultConfigFile));
  app.add_flag("--print-config", print, "Print the configuration with all defaults and exit");
  app.set_version_flag("--version", DEDUP_VERSION);
  auto* worker = app.add_subcommand("worker", "Started by the keeper, not by people")->group("");
  worker->add_option("--config", config_file);
  CLI11_PARSE(app, argc, argv);

  Log early(2);
  auto config = config_file.empty() ? load_config(kDefaultConfigFile, MissingFile::kDefaults)
                                    : load_config(config_file, MissingFile::kError);
  if (!config.ok()) return fail(early, config.error(), kExitConfig);
  if (print) {
    std::printf("%s\n", print_config(*config).c_str());
    return 0;
  }
  if (::geteuid() != 0) {
    return fail(early, make_error(Errc::kDenied, "dedupd must run as root: it mounts file systems"),
                kExitFailed);
  }
  Log log(2, config->log_level, config->log_format);
  if (*worker) return run_worker(std::move(*config), log);
  return run_as_keeper(*config, config_file, log);
}

}  // namespace
}  // namespace dedup

int main(int argc, char** argv) {
  return dedup::run(argc, argv);
}
