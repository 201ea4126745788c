#include "trace/recordings.h"

#include <poll.h>

#include <algorithm>

#include "base/clock.h"
#include "trace/recording_run.h"

namespace dedup {
namespace {

constexpr size_t kMaxKnownImages = 4096;

}  // namespace

Recordings::Recordings(Ring& ring, Workers& workers, Log& log, Pool& pool, TraceFiles& files,
                       RecordingOptions options)
    : x_ring(ring),
      x_workers(workers),
      x_log(log),
      x_pool(pool),
      x_files(files),
      x_options(options),
      x_gate(ring, 1) {}

Task<void> Recordings::open() {
  auto recorder = co_await x_workers.run(Priority::kBackground, [] { return Recorder::open(); });
  if (!recorder.ok()) {
    x_unusable = recorder.error().to_string();
    x_log.info("container starts are not recorded", {{"reason", x_unusable}});
    co_return;
  }
  if (x_stop.cancelled()) co_return;
  x_unusable.clear();
  x_recorder = std::move(*recorder);
  x_watch = x_ring.watch(x_recorder->first_reads_fd(), POLLIN,
                         [this](short) { x_tasks.spawn(take_first_reads()); });
  for (const auto& [key, mount] : x_mounts) x_tasks.spawn(consider(key));
}

void Recordings::stop() {
  x_stop.cancel();
  x_watch.reset();
}

Task<void> Recordings::close() {
  co_await x_tasks.join();
}

void Recordings::preparing(const TracedImage& image) {
  if (x_known.size() >= kMaxKnownImages) {
    x_known.clear();
    x_prepared_ns.clear();
  }
  x_known[image.key] = image;
  const uint64_t now_ns = monotonic_ns();
  uint64_t& since_ns = x_prepared_ns[image.key];
  if (now_ns - since_ns > kMaxPrepareNs) since_ns = now_ns;
}

void Recordings::mounted(std::vector<Digest> layers, Whiteouts whiteouts, std::string mountpoint) {
  const MountKey key{image_key(layers), whiteouts};
  const auto known = x_known.find(key.first);
  TracedImage image = known != x_known.end()
                          ? known->second
                          : TracedImage{key.first, "", std::nullopt, std::move(layers)};
  Mount& mount = x_mounts[key];
  if (mount.device != 0) forget(mount.device);  // of a superblock that something still keeps
  mount = Mount{std::move(image), whiteouts, std::move(mountpoint)};
  x_tasks.spawn(consider(key));
}

// The device number may come back as another file system's.
void Recordings::unmounted(const std::vector<Digest>& layers, Whiteouts whiteouts) {
  const auto found = x_mounts.find({image_key(layers), whiteouts});
  if (found == x_mounts.end()) return;
  if (found->second.device != 0) forget(found->second.device);
  x_mounts.erase(found);
}

void Recordings::forget(uint32_t device) {
  x_recorder->forget_mount(device);
  x_tasks.spawn(rest());
}

Task<void> Recordings::rest() {
  const auto gate = co_await x_gate.acquire(1, Priority::kBackground, x_stop.token());
  if (!gate.held()) co_return;
  const bool forget_all = x_runs.empty();
  co_await x_workers.run(Priority::kBackground, [&] { x_recorder->rest(forget_all); });
}

size_t Recordings::running(const Digest& key) const {
  return static_cast<size_t>(std::ranges::count_if(
      x_runs, [&key](const RunPtr& run) { return run->mount.image.key == key; }));
}

const Recordings::Mount* Recordings::mount_of(uint32_t device) const {
  for (const auto& [key, mount] : x_mounts) {
    if (mount.device == device && device != 0) return &mount;
  }
  return nullptr;
}

// Records the mount, or ends that, as many starts as are wanted of it.
Task<void> Recordings::consider(MountKey key) {
  const auto gate = co_await x_gate.acquire(1, Priority::kPrefetch, x_stop.token());
  if (!gate.held() || x_recorder == nullptr || !x_mounts.contains(key)) co_return;
  size_t starts = 0;
  std::optional<TracedImage> written;
  co_await x_workers.run(Priority::kPrefetch, [&] {
    starts = x_files.starts(key.first);
    written = x_files.image(key.first);
  });
  const auto found = x_mounts.find(key);
  if (found == x_mounts.end()) co_return;
  Mount& mount = found->second;
  if (mount.image.ref.empty() && written) mount.image = std::move(*written);
  const bool every =
      x_wanted.contains(key.first) || starts + running(key.first) < x_options.automatic_starts;
  const bool named =
      std::ranges::any_of(x_runs, [](const RunPtr& run) { return run->mount.device == 0; });
  if (!every && !named) {
    if (mount.device == 0 || running(key.first) > 0) co_return;
    forget(std::exchange(mount.device, 0));
    co_return;
  }
  // Never on the thread that answers the mount's readers.
  const std::string mountpoint = mount.mountpoint;
  const uint64_t now_ns = monotonic_ns();
  const auto device = co_await x_workers.run(Priority::kPrefetch, [&] {
    return x_recorder->record_mount(mountpoint, every ? CgroupScope::kEvery : CgroupScope::kNamed);
  });
  const auto still = x_mounts.find(key);
  if (!device.ok()) {
    x_log.warn("a mount is not recorded", {{"error", device.error()}});
  } else if (still != x_mounts.end() && still->second.mountpoint == mountpoint) {
    if (still->second.device == 0 || !still->second.every) still->second.since_ns = now_ns;
    still->second.device = *device;
    still->second.every = every;
  } else {
    forget(*device);
  }
}

void Recordings::start_image(const TracedImage& image) {
  x_wanted[image.key].image = image;
  for (const auto& [key, mount] : x_mounts) {
    if (key.first == image.key) x_tasks.spawn(consider(key));
  }
}

Task<Result<std::vector<std::string>>> Recordings::stop_image(Digest key) {
  const auto wanted = x_wanted.extract(key);
  if (wanted.empty() && running(key) == 0)
    co_return make_error(Errc::kNotFound, "this image is not being recorded");
  std::vector<std::string> files;
  if (!wanted.empty()) files = std::move(wanted.mapped().files);
  std::vector<RunPtr> runs;
  for (const RunPtr& run : x_runs) {
    if (run->mount.image.key == key) runs.push_back(run);
  }
  CO_TRY(last, co_await finish_those(std::move(runs)));
  files.insert(files.end(), last.begin(), last.end());
  co_await reconsider();  // it may be that no run ended now
  co_return files;
}

Task<Result<std::string>> Recordings::start_container(std::string id) {
  if (x_recorder == nullptr) co_return make_error(Errc::kUnsupported, x_unusable);
  auto run = std::make_shared<Run>(x_ring);
  {
    const auto gate = co_await x_gate.acquire(1, Priority::kOnDemand, x_stop.token());
    if (!gate.held()) co_return make_error(Errc::kCancelled, "the daemon is stopping");
    CO_TRY(co_await x_workers.run(Priority::kOnDemand, [&]() -> Result<void> {
      TRY(directory, find_container(id, node_hierarchy()));
      TRY(cgroup, x_recorder->record_cgroup(directory));
      run->cgroup = cgroup;
      run->container = container_id(directory);
      run->directory = std::move(directory);
      return {};
    }));
    const bool known = std::ranges::any_of(x_runs, [&run](const RunPtr& other) {
      return other->cgroup == run->cgroup && !other->taken;
    });
    if (known) co_return make_error(Errc::kExists, run->container + " is being recorded already");
    x_ended.erase(run->cgroup);
    run->by_operator = true;
    run->start_ns = monotonic_ns();
    begin(run);  // before its first read is looked at
  }
  co_await reconsider();
  co_return run->container;
}

Task<void> Recordings::reconsider() {
  std::vector<MountKey> mounts;
  for (const auto& [key, mount] : x_mounts) mounts.push_back(key);
  for (const MountKey& key : mounts) co_await consider(key);
}

Task<Result<std::vector<std::string>>> Recordings::stop_container(std::string id) {
  std::vector<RunPtr> runs;
  for (const RunPtr& run : x_runs) {
    if (run->container.starts_with(id)) runs.push_back(run);
  }
  if (runs.empty()) co_return make_error(Errc::kNotFound, "container " + id + " is not recorded");
  co_return co_await finish_those(std::move(runs));
}

Task<Result<std::vector<std::string>>> Recordings::finish_those(std::vector<RunPtr> runs) {
  std::vector<std::string> written;
  for (const RunPtr& run : runs) {
    if (!run->finishing) x_tasks.spawn(finish(run));
    const Result<std::string>& outcome = co_await run->done.wait();
    if (!outcome.ok()) co_return outcome.error();
    if (!outcome->empty()) written.push_back(*outcome);
  }
  co_return written;
}

std::vector<RecordingStatus> Recordings::active() const {
  std::vector<RecordingStatus> all;
  for (const RunPtr& run : x_runs) {
    all.push_back({run->container, run->mount.image.ref,
                   (monotonic_ns() - run->start_ns) / 1'000'000, run->touched_pages * kPageBytes});
  }
  return all;
}

std::vector<Digest> Recordings::recorded(const std::string& ref) const {
  std::set<Digest> keys;
  for (const auto& [key, wanted] : x_wanted) {
    if (wanted.image.ref == ref) keys.insert(key);
  }
  for (const RunPtr& run : x_runs) {
    if (run->mount.image.ref == ref) keys.insert(run->mount.image.key);
  }
  return {keys.begin(), keys.end()};
}

std::vector<TracedImage> Recordings::wanted() const {
  std::vector<TracedImage> all;
  for (const auto& [key, wanted] : x_wanted) all.push_back(wanted.image);
  return all;
}

std::vector<std::string> Recordings::missing_tracepoints() const {
  return x_recorder == nullptr ? std::vector<std::string>() : x_recorder->missing_tracepoints();
}

}  // namespace dedup
