#include "image/chains.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "doors/erofs_mount.h"
#include "pool/files.h"

namespace dedup {
namespace {

constexpr int kCloseAttempts = 20;
constexpr std::chrono::milliseconds kClosePause{10};

void drop_page_cache() {
  const UniqueFd drop(::open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC));
  // Best effort: whoever read holes has been told to restart.
  if (drop.valid() && ::write(drop.get(), "1", 1) != 1) return;
}

Error lost_segment(SegmentId id) {
  return make_error(Errc::kCorruption,
                    "segment " + std::to_string(id) +
                        " of the pool is lost (see the log of the daemon's start): remove the "
                        "images that use it and pull them again");
}

// As build_metadata_image() writes it.
ImageUuid uuid_of(const Digest& chain) {
  ImageUuid uuid;
  std::transform(chain.bytes.begin(), chain.bytes.begin() + uuid.size(), uuid.begin(),
                 [](std::byte byte) { return std::to_integer<uint8_t>(byte); });
  return uuid;
}

}  // namespace

Chains::Chains(Ring& ring, Workers& workers, Log& log, Pool& pool, ImageStore& store, Door& door,
               Guard* guard, ChainOptions options)
    : x_ring(ring),
      x_workers(workers),
      x_log(log),
      x_pool(pool),
      x_store(store),
      x_door(door),
      x_guard(guard),
      x_options(std::move(options)) {}

Digest Chains::id_of(const std::vector<Digest>& layers, bool keep_whiteouts) {
  Sha256 hash;
  hash.update(as_bytes(keep_whiteouts ? "chain over lowerdirs\n" : "chain\n"));
  for (const Digest& layer : layers) hash.update(layer.bytes);
  return hash.finish();
}

std::string Chains::image_path(const Digest& chain) const {
  return x_options.directory + "/metadata/" + chain.hex().substr(0, 32) + ".erofs";
}

// Short: overlayfs option strings with many lowerdirs must fit one page.
std::string Chains::mountpoint(const Digest& chain) const {
  return x_options.directory + "/mounts/" + chain.hex().substr(0, 16);
}

Result<void> Chains::recover(bool fresh) {
  TRY(make_directories(x_options.directory + "/metadata"));
  TRY(make_directories(x_options.directory + "/mounts"));
  TRY(records, x_store.chains());
  TRY(points, mount_points());
  std::set<ImageUuid> incomplete;
  for (ChainRecord& record : records) {
    const std::string target = mountpoint(record.id);
    bool mounted = points.contains(target);
    if (fresh && mounted) {
      TRY(holders, x_store.chain_holders(record.id));
      forget_old_mount(target, !holders.empty());
      mounted = false;
    }
    const bool alive = mounted || metadata_image_in_use(image_path(record.id));
    if (!alive && x_guard != nullptr) x_guard->forget(uuid_of(record.id));
    if (!alive || (fresh && x_door.fails_closed())) continue;
    for (const SegmentId segment : record.segments) TRY(attach(segment));
    if (!complete(record)) incomplete.insert(uuid_of(record.id));
    x_log.info("found a mount", {{"chain", record.id.hex()}, {"mounted", mounted}});
    const Digest id = record.id;
    x_live[id] = Live{std::move(record), mounted};
    x_live[id].again = true;  // perhaps: an earlier worker may have known
  }
  if (x_guard != nullptr) x_guard->keep_only(incomplete);
  if (fresh && !x_door.fails_closed() && !x_attached.empty()) {
    x_log.error(
        "mounts were in use while no dedupd ran; dropping the page cache",
        {{"segments", x_attached.size()}, {"advice", "restart containers that ran meanwhile"}});
    // On a thread that nobody waits for: it visits every superblock of the node, and one that is
    // just being mounted makes it wait, perhaps for us.
    std::thread(drop_page_cache).detach();
  }
  return {};
}

// Containers that still use it keep the superblock.
void Chains::forget_old_mount(const std::string& target, bool held) {
  const auto outcome = unmount_lazily(target);
  if (!held && outcome.ok()) return;
  x_log.warn("a mount outlived everybody who served it; its containers must be restarted",
             {{"mountpoint", target}, {"unmounted", outcome.ok()}});
}

bool Chains::complete(const ChainRecord& record) const {
  return std::all_of(record.segments.begin(), record.segments.end(), [this](SegmentId id) {
    const auto segment = x_pool.segment(id);
    return segment == nullptr ? id == kZeroSegment : segment->complete();
  });
}

// Without the guard the mount is as safe as keeper and witness make it.
void Chains::arm_guard(const ChainRecord& record) {
  if (x_guard == nullptr || complete(record)) return;
  const auto armed = x_guard->arm(mountpoint(record.id));
  if (!armed.ok()) x_log.warn("a mount is not guarded", {{"error", armed.error()}});
}

Task<void> Chains::remount_held() {
  for (const auto& [id, live] : x_live) {
    if (live.mounted && x_options.on_mounted) x_options.on_mounted(live.record, mountpoint(id));
  }
  auto restored = co_await x_pool.restore_sizes();
  if (!restored.ok()) {
    x_log.error("a segment stays closed against readers", {{"error", restored.error()}});
  }
  auto records =
      co_await x_workers.run(Priority::kOnDemand, [this]() -> Result<std::vector<ChainRecord>> {
        TRY(all, x_store.chains());
        std::vector<ChainRecord> held;
        for (ChainRecord& record : all) {
          TRY(holders, x_store.chain_holders(record.id));
          if (!holders.empty()) held.push_back(std::move(record));
        }
        return held;
      });
  if (!records.ok()) {
    x_log.error("chains cannot be listed", {{"error", records.error()}});
    co_return;
  }
  for (const ChainRecord& record : *records) {
    auto outcome = co_await mount(record.layers, record.keep_whiteouts, Purpose::kAhead);
    if (!outcome.ok())
      x_log.error("a held chain cannot be mounted",
                  {{"chain", record.id.hex()}, {"error", outcome.error()}});
  }
}

Task<Result<std::string>> Chains::mount(std::vector<Digest> layers, bool keep_whiteouts,
                                        Purpose purpose) {
  const Digest id = id_of(layers, keep_whiteouts);
  auto outcome = co_await mount_shared(id, std::move(layers), keep_whiteouts);
  const auto live = x_live.find(id);
  if (live == x_live.end()) co_return outcome;
  live->second.idle_since.reset();
  if (purpose == Purpose::kAhead || std::exchange(live->second.used, true)) co_return outcome;
  if (x_options.on_used) x_options.on_used(live->second.record);
  co_return outcome;
}

Task<Result<std::string>> Chains::mount_shared(Digest id, std::vector<Digest> layers,
                                               bool keep_whiteouts) {
  const auto live = x_live.find(id);
  if (live != x_live.end() && live->second.mounted) co_return mountpoint(id);
  auto& pending = x_pending[id];
  if (pending != nullptr) {
    auto shared = pending;
    co_return co_await shared->wait();
  }
  auto mine = std::make_shared<Pending>(x_ring);
  pending = mine;
  ChainRecord record{id, std::move(layers), keep_whiteouts, {}};
  auto outcome = co_await mount_once(std::move(record));
  x_pending.erase(id);
  mine->set(outcome);
  co_return outcome;
}

Task<Result<std::string>> Chains::mount_once(ChainRecord record) {
  const auto started = std::chrono::steady_clock::now();
  const Digest id = record.id;
  Live live{std::move(record), false};
  // While a container still reads the last superblock, its metadata file is mounted again: one file
  // per chain, so that metadata_image_in_use speaks of all its superblocks.
  const auto lingering = x_live.find(id);
  if (lingering != x_live.end()) {
    live = lingering->second;
    live.again = true;
  } else {
    CO_TRY(co_await build(live.record, live.probes));
  }
  for (const SegmentId segment : live.record.segments) CO_TRY(not_lost(segment));
  // A death from here on leaves a record that recover() finds, before anything could be mounted
  // without its marks.
  CO_TRY(co_await x_workers.run(Priority::kOnDemand,
                                [this, &live] { return x_store.put_chain(live.record); }));
  x_mounting[id] = live.record.segments;
  auto outcome = co_await attach_and_mount(live.record);
  x_mounting.erase(id);
  if (outcome.ok()) {
    live.mounted = true;
    x_live[id] = std::move(live);
    arm_guard(x_live[id].record);
    outcome = co_await probe(id);
    if (!outcome.ok()) co_await unmount_chain(id);
  } else {
    detach_unused(live.record.segments);
  }
  if (!outcome.ok()) co_return std::move(outcome).error();
  if (x_options.on_mounted) x_options.on_mounted(x_live[id].record, mountpoint(id));
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - started);
  x_log.info("mounted",
             {{"chain", id.hex()}, {"mountpoint", mountpoint(id)}, {"ms", took.count()}});
  co_return mountpoint(id);
}

// Writes the metadata image; fills in record.segments and the files to probe.
Task<Result<void>> Chains::build(ChainRecord& record, std::map<SegmentId, ProbeFile>& probes) {
  const SegmentSizes sizes = segment_sizes(x_pool);
  const std::string path = image_path(record.id);
  const Whiteouts whiteouts = record.keep_whiteouts ? Whiteouts::kKeep : Whiteouts::kApply;
  CO_TRY(image, co_await x_workers.run(Priority::kOnDemand, [&]() -> Result<MetadataImage> {
    std::vector<PlacedLayer> layers;
    for (const Digest& digest : record.layers) {
      TRY(layer, load_layer_index(x_pool.options().directory, digest));
      for (const Slot& slot : *layer.slots) {
        if (!sizes.contains(slot.segment)) return lost_segment(slot.segment);
      }
      layers.push_back(std::move(layer));
    }
    return build_metadata_image(std::move(layers), whiteouts, record.id, sizes, path);
  }));
  record.segments = std::move(image.devices);
  probes = std::move(image.probes);
  co_return Result<void>();
}

Task<Result<void>> Chains::attach_and_mount(const ChainRecord& record) {
  for (const SegmentId segment : record.segments) CO_TRY(attach(segment));
  co_return co_await mount_image(record);
}

Task<Result<void>> Chains::mount_image(const ChainRecord& record) {
  const std::string segments_directory = x_pool.options().directory + "/segments";
  DoorMount mount{record.id.hex().substr(0, 32),
                  image_path(record.id),
                  {},
                  mountpoint(record.id),
                  x_options.directio};
  for (const SegmentId id : record.segments) {
    const auto segment = x_pool.segment(id);
    mount.segments.push_back({id, Segment::data_path(segments_directory, id),
                              segment == nullptr || segment->complete()});
  }
  co_return co_await x_workers.run(Priority::kOnDemand, [&]() -> Result<void> {
    TRY(make_directories(mount.mountpoint));
    return x_door.mount(mount);
  });
}

Task<Result<void>> Chains::probe(Digest chain) {
  const auto probes = x_live[chain].probes;
  for (const auto& [segment, file] : probes) {
    const auto target = x_pool.segment(segment);
    if (target == nullptr || target->complete() || !x_attached.contains(segment)) continue;
    auto outcome = co_await x_door.probe(mountpoint(chain) + file.path, file.file_offset, segment,
                                         file.segment_offset);
    // A segment that became complete meanwhile has lost its mark and raises nothing, rightly.
    if (!outcome.ok() && !target->complete()) co_return outcome;
  }
  co_return Result<void>();
}

Result<void> Chains::not_lost(SegmentId id) const {
  if (x_pool.segment(id) != nullptr || id == kZeroSegment) return {};
  return lost_segment(id);
}

// A lost segment is attached, too, for mounts that outlived an earlier worker: without the door
// they would show zeros, with it every read is denied.
Result<void> Chains::attach(SegmentId id) {
  if (x_attached.contains(id)) return {};
  const std::string path = Segment::data_path(x_pool.options().directory + "/segments", id);
  const auto segment = x_pool.segment(id);
  const auto lost = x_pool.lost(id);
  const bool complete = segment == nullptr ? id == kZeroSegment : segment->complete();
  if (complete && !x_door.serves_complete()) return {};
  UniqueFd hole;
  if (id == kZeroSegment) {
    TRY(opened, open_file(path, O_RDWR));
    hole = std::move(opened);
  } else if (segment == nullptr && !lost) {
    return make_error(Errc::kCorruption, "segment " + std::to_string(id) + " is not in the pool");
  }
  if (lost && *lost < 0) {
    x_log.error("a mount reads a segment whose file is gone; only the guard protects its readers",
                {{"segment", id}});
    return {};
  }
  TRY(x_door.attach(id, segment ? segment->data_fd() : lost.value_or(hole.get()), path));
  x_attached.insert(id);
  return {};
}

bool Chains::segment_in_use(SegmentId id) const {
  const auto holds = [id](const std::vector<SegmentId>& segments) {
    return std::find(segments.begin(), segments.end(), id) != segments.end();
  };
  return std::any_of(x_live.begin(), x_live.end(),
                     [&](const auto& live) { return holds(live.second.record.segments); }) ||
         std::any_of(x_mounting.begin(), x_mounting.end(),
                     [&](const auto& mounting) { return holds(mounting.second); });
}

void Chains::detach_unused(const std::vector<uint32_t>& segments) {
  for (const SegmentId id : segments) {
    if (segment_in_use(id) || x_attached.erase(id) == 0) continue;
    auto outcome = x_door.detach(id);
    if (!outcome.ok())
      x_log.warn("mark could not be removed", {{"segment", id}, {"error", outcome.error()}});
  }
}

void Chains::segment_complete(const std::shared_ptr<Segment>& segment) {
  if (x_guard != nullptr) {
    for (const auto& [id, live] : x_live) {
      const auto& segments = live.record.segments;
      const bool reads_it =
          std::find(segments.begin(), segments.end(), segment->id()) != segments.end();
      if (reads_it && complete(live.record)) x_guard->disarm(uuid_of(id));
    }
  }
  if (x_door.serves_complete() || x_attached.erase(segment->id()) == 0) return;
  auto outcome = x_door.detach(segment->id());
  if (!outcome.ok())
    x_log.warn("mark could not be removed",
               {{"segment", segment->id()}, {"error", outcome.error()}});
}

// Leaves the chain in x_live while something still reads its superblock.
Task<void> Chains::unmount_chain(Digest chain) {
  const std::string target = mountpoint(chain);
  const std::string image = image_path(chain);
  const bool in_use = co_await x_workers.run(Priority::kOnDemand, [&] {
    auto outcome = unmount(target);
    if (!outcome.ok()) {
      return outcome.error().code == Errc::kExists || metadata_image_in_use(image);
    }
    // fscache closes the file only after umount(2) has returned.
    bool open = metadata_image_in_use(image);
    for (int i = 0; open && x_door.fails_closed() && i < kCloseAttempts; ++i) {
      std::this_thread::sleep_for(kClosePause);
      open = metadata_image_in_use(image);
    }
    return open;
  });
  const auto live = x_live.find(chain);
  if (live == x_live.end()) co_return;
  auto points = mount_points();
  live->second.mounted = points.ok() && points->contains(target);
  if (in_use) co_return;
  const auto segments = live->second.record.segments;
  if (x_options.on_unmounted) x_options.on_unmounted(live->second.record);
  x_live.erase(live);
  if (x_guard != nullptr) x_guard->forget(uuid_of(chain));
  detach_unused(segments);
  remove_metadata_image(image);
  ::rmdir(target.c_str());
}

Task<void> Chains::collect() {
  auto unheld =
      co_await x_workers.run(Priority::kBackground, [this] { return x_store.unheld_chains(); });
  if (!unheld.ok()) {
    x_log.error("chains cannot be listed", {{"error", unheld.error()}});
    co_return;
  }
  std::multimap<std::chrono::steady_clock::time_point, Digest> idle;
  for (const UnheldChain& one : *unheld) {
    if (x_pending.contains(one.id)) continue;
    if (stays_idle(one))
      idle.emplace(*x_live[one.id].idle_since, one.id);
    else
      co_await end_chain(one.id);
  }
  for (; idle.size() > x_options.max_idle; idle.erase(idle.begin()))
    co_await end_chain(idle.begin()->second);
}

Task<void> Chains::end_chain(Digest chain) {
  if (x_live.contains(chain)) co_await unmount_chain(chain);
  if (x_live.contains(chain)) co_return;  // a container still reads it; its layers stay till then
  auto outcome = co_await x_workers.run(Priority::kBackground,
                                        [this, chain] { return x_store.remove_chain(chain); });
  if (!outcome.ok())
    x_log.error("chain cannot be forgotten", {{"chain", chain.hex()}, {"error", outcome.error()}});
}

bool Chains::stays_idle(const UnheldChain& chain) {
  const auto found = x_live.find(chain.id);
  if (found == x_live.end()) return false;
  Live& live = found->second;
  const auto now = std::chrono::steady_clock::now();
  if (!live.idle_since) live.idle_since = now;
  if (std::exchange(live.used, false) && x_options.on_idle) x_options.on_idle(live.record);
  // With its end is learned whether the older superblock, perhaps a lost one, is gone.
  if (live.again || !live.mounted || !chain.layers_held) return false;
  return now - *live.idle_since < x_options.keep_idle;
}

std::vector<ChainStatus> Chains::status() const {
  std::vector<ChainStatus> all;
  for (const auto& [id, live] : x_live) {
    all.push_back({live.record, live.mounted ? mountpoint(id) : "", complete(live.record)});
  }
  return all;
}

Task<void> Chains::close(std::chrono::milliseconds timeout) {
  std::vector<Digest> ids;
  for (const auto& [id, live] : x_live) ids.push_back(id);
  for (const Digest& id : ids) co_await unmount_chain(id);
  if (!x_attached.empty() && !x_door.fails_closed()) co_await complete_in_use(timeout);
}

Task<void> Chains::complete_in_use(std::chrono::milliseconds timeout) {
  x_log.warn("containers still read lazily loaded segments; completing them before the stop",
             {{"segments", x_attached.size()}, {"timeout_ms", timeout.count()}});
  constexpr uint64_t kStepBytes = 16u << 20;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const std::set<SegmentId> segments = x_attached;
  for (const SegmentId id : segments) {
    const auto segment = x_pool.segment(id);
    for (uint64_t at = 0; segment != nullptr && at < segment->header().data_bytes;
         at += kStepBytes) {
      if (std::chrono::steady_clock::now() >= deadline) co_return;
      auto outcome = co_await x_pool.ensure(id, {at, kStepBytes}, Priority::kBackground);
      if (!outcome.ok())
        break;  // logged by the fetcher; close_against_readers deals with what is missing
    }
  }
}

Task<bool> Chains::close_against_readers() {
  if (x_door.fails_closed()) co_return true;
  bool closed = true;
  for (const SegmentId id : x_attached) {
    const auto segment = x_pool.segment(id);
    const auto lost = x_pool.lost(id);
    if (lost ? *lost < 0 : segment == nullptr || segment->complete()) continue;
    uint64_t safe_bytes = lost ? 0 : segment->header().data_bytes;
    for (size_t i = lost ? 0 : segment->piece_count(); i-- > 0;) {
      if (segment->state(i) == PieceState::kMissing) {
        safe_bytes = round_down(segment->piece(i).offset, kPoolBlockBytes);
      }
    }
    x_log.error("segment is closed against readers until dedupd runs again",
                {{"segment", id}, {"safe_bytes", safe_bytes}});
    // On a worker: ftruncate of a marked file raises an event that this loop answers.
    const int status = co_await x_workers.run(Priority::kOnDemand, [&] {
      return ::ftruncate(lost ? *lost : segment->data_fd(), static_cast<off_t>(safe_bytes));
    });
    if (status == 0) continue;
    closed = false;
    x_log.error("segment cannot be cut", {{"segment", id}});
  }
  co_return closed;
}

}  // namespace dedup
