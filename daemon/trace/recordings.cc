#include "trace/recordings.h"

#include <poll.h>
#include <time.h>

#include <algorithm>

#include "base/clock.h"
#include "trace/image_view.h"

namespace dedup {
namespace {

constexpr std::chrono::milliseconds kLookInterval{500};
// A program that is fetched on demand may take seconds to replace the runtime's process.
constexpr std::chrono::milliseconds kEntrypointWaits[] = {
    std::chrono::milliseconds(20), std::chrono::milliseconds(80), std::chrono::milliseconds(300)};
constexpr std::chrono::milliseconds kEntrypointLaterWait{1000};
// A mount is recorded so late, at most, for the start of a container in it to be a whole one.
constexpr uint64_t kMaxLateNs = 1'000'000'000;
constexpr size_t kMaxEnded = 4096;
constexpr uint64_t kMaxPrepareNs = 600'000'000'000;  // what is older belongs to an earlier start
constexpr size_t kMaxKnownImages = 4096;

uint32_t most_touched_device(const Recording& recording, const std::set<uint32_t>& devices) {
  std::map<uint32_t, uint64_t> bytes;
  for (const PageRun& run : recording.touched) {
    if (devices.contains(run.device)) bytes[run.device] += run.range.length;
  }
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& one) { return one.second; });
  return most == bytes.end() ? 0 : most->first;
}

}  // namespace

// One container while it is recorded.
struct Recordings::Run {
  CgroupId cgroup = 0;
  std::string directory;  // of the cgroup; empty: it was gone already
  std::string container;
  // What it is recorded of; mount.device 0: an operator's, whatever it reads most. A copy: the
  // mount goes with the container.
  Mount mount;
  pid_t pid = 0;
  uint64_t start_ns = 0;
  uint64_t started_s = 0;
  std::vector<std::string> entrypoint;
  uint64_t touched_pages = 0;
  uint64_t changed_ns = 0;   // when touched_pages grew last
  bool by_operator = false;  // in the middle of its life: no start
  bool finishing = false;
  bool taken = false;  // its touches, out of the recorder
  OneShot<Result<std::string>> done;

  explicit Run(Ring& ring) : done(ring) {}
};

// A reader of a recorded mount, before and after a look at /proc.
struct Recordings::Found {
  FirstRead read;
  uint64_t since_ns = 0;  // the mount is recorded
  bool ended = false;     // it was recorded before
  bool busy = false;      // it is being recorded, of another mount
  std::string directory;
  bool starts = false;  // a container, and from now on recorded
  uint64_t start_ns = 0;
};

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

Task<void> Recordings::take_first_reads() {
  const auto gate = co_await x_gate.acquire(1, Priority::kOnDemand, x_stop.token());
  if (!gate.held()) co_return;
  const auto reads = co_await x_workers.run(Priority::kOnDemand,
                                            [this] { return x_recorder->take_first_reads(); });
  std::vector<Found> found;
  for (const FirstRead& read : reads) {
    const Mount* mount = mount_of(read.device);
    Found one{.read = read, .ended = x_ended.contains(read.cgroup), .directory = {}};
    bool known = false;
    for (const RunPtr& run : x_runs) {
      if (run->cgroup != read.cgroup || run->taken) continue;
      one.busy = true;
      known = known || run->mount.device == 0 || run->mount.device == read.device;
    }
    if (mount == nullptr || known) continue;
    one.since_ns = mount->since_ns;
    found.push_back(std::move(one));
  }
  co_await x_workers.run(Priority::kOnDemand, [&] {
    for (Found& one : found) look_at(one);
  });
  for (Found& one : found) {
    if (one.ended) note_ended(one.read.cgroup);
    const Mount* mount = mount_of(one.read.device);
    if (!one.starts || mount == nullptr) continue;
    auto run = std::make_shared<Run>(x_ring);
    run->cgroup = one.read.cgroup;
    run->container = container_id(one.directory);
    run->directory = std::move(one.directory);
    run->mount = *mount;
    run->pid = one.read.pid;
    run->start_ns = one.start_ns;
    begin(std::move(run));
  }
}

// On a worker: is it a container, and does it start? One that runs already must not become a start
// of a few late reads, which others would be prefetched by.
void Recordings::look_at(Found& found) {
  const CgroupId cgroup = found.read.cgroup;
  const auto directory = cgroup_directory(cgroup, node_hierarchy());
  if (directory.ok()) found.directory = *directory;
  const auto root = hierarchy_root(node_hierarchy());
  const bool container =
      dweller(found.read.pid) != Dweller::kHost && (!root.ok() || found.directory != *root);
  found.start_ns = found.read.first_ns;
  for (const uint64_t start_ns :
       {process_start_ns(found.read.pid), oldest_process_ns(found.directory)}) {
    if (start_ns != 0) found.start_ns = std::min(found.start_ns, start_ns);
  }
  const bool late = found.start_ns + kMaxLateNs < found.since_ns;
  found.ended = !found.busy && container && (found.ended || late);
  found.starts = container && !found.ended && !late;
  Result<void> noted;
  if (!container) noted = x_recorder->ignore_cgroup(cgroup);
  if (found.ended) noted = x_recorder->end_cgroup(cgroup);
  if (!noted.ok()) x_log.warn("a reader cannot be ignored", {{"error", noted.error()}});
  if (!found.starts || found.directory.empty()) return;
  // From now on its own cgroups count as it.
  const auto recorded = x_recorder->record_cgroup(found.directory);
  static_cast<void>(recorded);
}

void Recordings::note_ended(CgroupId cgroup) {
  if (x_ended.size() >= kMaxEnded) x_ended.clear();  // the kernel remembers as many
  x_ended.insert(cgroup);
}

void Recordings::begin(RunPtr run) {
  run->started_s = static_cast<uint64_t>(::time(nullptr));
  run->changed_ns = monotonic_ns();
  x_log.debug("recording a container", {{"container", run->container}});
  x_runs.push_back(run);
  x_tasks.spawn(learn_entrypoint(std::move(run)));
  if (!std::exchange(x_watching, true)) x_tasks.spawn(watch_runs());
}

Task<void> Recordings::learn_entrypoint(RunPtr run) {
  for (size_t i = 0; run->pid != 0 && run->entrypoint.empty() && !run->finishing; ++i) {
    const auto wait = i < std::size(kEntrypointWaits) ? kEntrypointWaits[i] : kEntrypointLaterWait;
    if (co_await x_ring.sleep(wait, x_stop.token()) != 0) co_return;
    run->entrypoint =
        co_await x_workers.run(Priority::kPrefetch, [&] { return entrypoint_of(run->pid); });
  }
}

Task<void> Recordings::watch_runs() {
  while (!x_runs.empty() && co_await x_ring.sleep(kLookInterval, x_stop.token()) == 0) {
    const std::vector<RunPtr> runs = x_runs;
    std::vector<bool> alive(runs.size());
    Result<std::map<CgroupId, uint64_t>> pages = std::map<CgroupId, uint64_t>();
    {
      const auto gate = co_await x_gate.acquire(1, Priority::kPrefetch, x_stop.token());
      if (!gate.held()) break;
      co_await x_workers.run(Priority::kPrefetch, [&] {
        pages = x_recorder->touched_pages();
        for (size_t i = 0; i < runs.size(); ++i) alive[i] = has_processes(runs[i]->directory);
      });
    }
    if (!pages.ok()) x_log.warn("recordings cannot be read", {{"error", pages.error()}});
    for (size_t i = 0; i < runs.size(); ++i) {
      const uint64_t touched = pages.ok() ? (*pages)[runs[i]->cgroup] : 0;
      if (!runs[i]->finishing && ended(*runs[i], touched, alive[i])) x_tasks.spawn(finish(runs[i]));
    }
  }
  x_watching = false;
}

bool Recordings::ended(Run& run, uint64_t touched_pages, bool alive) const {
  const uint64_t now_ns = monotonic_ns();
  const auto for_ns = [now_ns](uint64_t since_ns) {
    return std::chrono::nanoseconds(now_ns - since_ns);
  };
  if (touched_pages > run.touched_pages) run.changed_ns = now_ns;
  run.touched_pages = touched_pages;
  if (!alive) return true;
  if (run.mount.device == 0) return false;  // its operator ends it
  if (x_wanted.contains(run.mount.image.key)) return false;
  return for_ns(run.start_ns) > x_options.max_time || for_ns(run.changed_ns) > x_options.quiet_time;
}

Task<void> Recordings::finish(RunPtr run) {
  run->finishing = true;
  auto outcome = co_await write(run);
  std::erase(x_runs, run);
  if (outcome.ok() && !outcome->empty()) {
    x_log.info("recorded a start", {{"container", run->container}, {"file", *outcome}});
  } else if (!outcome.ok()) {
    x_log.warn("a start is not recorded",
               {{"container", run->container}, {"error", outcome.error()}});
  }
  run->done.set(std::move(outcome));
  co_await reconsider();
}

// When no other run waits for the same container, nothing more of it is recorded afterwards.
Task<Result<Recording>> Recordings::take_recording(RunPtr run) {
  const auto gate = co_await x_gate.acquire(1, Priority::kPrefetch, x_stop.token());
  if (!gate.held()) co_return make_error(Errc::kCancelled, "the daemon is stopping");
  run->taken = true;
  const bool shared = std::ranges::any_of(x_runs, [&run](const RunPtr& other) {
    return other->cgroup == run->cgroup && !other->taken;
  });
  if (!shared) note_ended(run->cgroup);
  RecorderCounts counts = x_counts;
  auto recording = co_await x_workers.run(Priority::kPrefetch, [&]() -> Result<Recording> {
    TRY(seen, x_recorder->recording(run->cgroup));
    if (!shared) TRY(x_recorder->end_cgroup(run->cgroup));
    TRY(now, x_recorder->counts());
    counts = now;
    return seen;
  });
  if (counts.dropped > x_counts.dropped)
    x_log.warn("touches were lost: too many files are read at once",
               {{"dropped", counts.dropped - x_counts.dropped}});
  x_counts = counts;
  co_return recording;
}

// Returns the path of the file; empty: the container has read nothing of an image.
Task<Result<std::string>> Recordings::write(RunPtr run) {
  CO_TRY(recording, co_await take_recording(run));
  if (run->mount.device == 0) {
    std::set<uint32_t> devices;
    for (const auto& [key, mount] : x_mounts) devices.insert(mount.device);
    const Mount* mount = mount_of(most_touched_device(recording, devices));
    if (mount == nullptr) co_return std::string();
    run->mount = *mount;
  }
  const Mount& mount = run->mount;
  const SegmentSizes sizes = segment_sizes(x_pool);
  CO_TRY(view, co_await x_workers.run(Priority::kPrefetch, [&] {
    return ImageView::load(x_pool.options().directory, mount.image.layers, mount.whiteouts, sizes);
  }));
  uint64_t prepared_ns = run->start_ns;
  const auto prepared = x_prepared_ns.find(mount.image.key);
  if (prepared != x_prepared_ns.end() && prepared->second < run->start_ns &&
      run->start_ns - prepared->second < kMaxPrepareNs)
    prepared_ns = prepared->second;
  if (prepared != x_prepared_ns.end()) x_prepared_ns.erase(prepared);
  const auto fetched = x_fetch_log.since(prepared_ns, view.segments());
  const std::vector<std::string> entrypoint = run->entrypoint;  // the loop may learn it just now
  auto file = co_await x_workers.run(Priority::kPrefetch, [&]() -> Result<std::string> {
    Profile profile =
        profile_of(recording, x_recorder->sight(), mount.device, view.files(), run->start_ns);
    if (profile.entries.empty()) return std::string();
    profile.image = mount.image.manifest;
    profile.entrypoint = entrypoint;
    profile.container = run->container;
    profile.started_s = run->started_s;
    profile.prepared_us = (run->start_ns - prepared_ns) / 1000;
    profile.fetches = view.fetches_of(fetched, profile.entries, prepared_ns);
    return run->by_operator ? x_files.add_part(mount.image, profile)
                            : x_files.add_start(mount.image, profile);
  });
  const auto wanted = x_wanted.find(mount.image.key);
  if (file.ok() && !file->empty() && wanted != x_wanted.end()) {
    auto& files = wanted->second.files;
    files.push_back(*file);
    if (files.size() > TraceFilesLimits{}.max_starts) files.erase(files.begin());
  }
  co_return file;
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
    const bool known = std::ranges::any_of(
        x_runs, [&run](const RunPtr& other) { return other->cgroup == run->cgroup; });
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
