// From the first read of a container to the file of its start.
#include <time.h>

#include <algorithm>

#include "base/clock.h"
#include "trace/image_view.h"
#include "trace/recording_run.h"

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

uint32_t most_touched_device(const Recording& recording, const std::set<uint32_t>& devices) {
  std::map<uint32_t, uint64_t> bytes;
  for (const PageRun& run : recording.touched) {
    if (devices.contains(run.device)) bytes[run.device] += run.range.length;
  }
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& one) { return one.second; });
  return most == bytes.end() ? 0 : most->first;
}

}  // namespace

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

}  // namespace dedup
