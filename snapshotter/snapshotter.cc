#include "snapshotter/snapshotter.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace dedup {
namespace {

// Codes that mean something about snapshots to containerd must not come from deeper down.
Error as_daemon_failure(Error error) {
  if (error.code != Errc::kUnavailable && error.code != Errc::kNoSpace) error.code = Errc::kIo;
  return error;
}

bool is_mountpoint(const std::string& path) {
  struct stat here {};
  struct stat above {};
  return ::stat(path.c_str(), &here) == 0 && ::stat((path + "/..").c_str(), &above) == 0 &&
         here.st_dev != above.st_dev;
}

bool is_pool_run(const Lower& lower) {
  return lower.directory_of == 0;
}

}  // namespace

std::string layer_holder(int64_t id) {
  return "snapshot:" + std::to_string(id);
}

std::string mounts_holder(int64_t id) {
  return layer_holder(id) + "/mounts";
}

Snapshotter::Snapshotter(Parts parts)
    : x_parts(std::move(parts)),
      x_index_off(::access("/sys/module/overlay/parameters/index", F_OK) == 0) {}

Result<std::vector<Mount>> Snapshotter::prepare(const std::string& key, const std::string& parent,
                                                const Labels& labels) {
  if (const auto layer = remote_layer(labels)) {
    const auto added = x_targets.run(layer->target + "\n" + parent,
                                     [&] { return add_remote(*layer, parent, labels); });
    if (added.ok()) return make_error(Errc::kExists, "target snapshot \"" + layer->target + "\"");
    x_parts.log.warn("layer not served, containerd unpacks it", {{"ref", layer->ref},
                                                                 {"layer", layer->layer_digest},
                                                                 {"target", layer->target},
                                                                 {"error", added.error()}});
  }
  return create({SnapshotKind::kActive, key, parent, labels});
}

Result<std::vector<Mount>> Snapshotter::view(const std::string& key, const std::string& parent,
                                             const Labels& labels) {
  return create({SnapshotKind::kView, key, parent, labels});
}

Result<void> Snapshotter::add_remote(const RemoteLayer& layer, const std::string& parent,
                                     const Labels& labels) {
  TRY(exists, x_parts.store.has_target(layer.target, parent));
  if (exists) return {};
  TRY(reservation, reserve_target(layer, parent, labels));
  auto digest = x_parts.daemon.add_layer(layer, layer_holder(reservation.id));
  if (!digest.ok()) {
    drop(reservation.id);
    return std::move(digest).error();
  }
  TRY(x_parts.store.publish_layer(reservation.id, *digest));
  x_parts.log.info(
      "remote snapshot",
      {{"id", reservation.id}, {"ref", layer.ref}, {"layer", *digest}, {"target", layer.target}});
  return {};
}

// The chainID itself is the first choice of a name. It is taken when the same chain lies on another
// parent: another namespace's, or one that was unpacked before.
Result<Reservation> Snapshotter::reserve_target(const RemoteLayer& layer, const std::string& parent,
                                                const Labels& labels) {
  NewSnapshot snapshot{SnapshotKind::kCommitted, layer.target, parent, labels};
  auto reservation = x_parts.store.reserve(snapshot);
  if (reservation.ok() || reservation.error().code != Errc::kExists) return reservation;
  snapshot.key += " on " + (parent.empty() ? "nothing" : parent);
  return x_parts.store.reserve(snapshot);
}

Result<std::vector<Mount>> Snapshotter::create(const NewSnapshot& snapshot) {
  if (snapshot.key.empty()) return make_error(Errc::kInvalid, "a snapshot needs a key");
  TRY(reservation, x_parts.store.reserve(snapshot));
  const int64_t id = reservation.id;
  const auto make = [&]() -> Result<std::vector<Mount>> {
    TRY(resolve(id, reservation.lowers));
    const std::string top = reservation.lowers.empty() ? "" : reservation.lowers.front().path;
    TRY(x_parts.directories.create(id, snapshot.kind, top));
    TRY(mounts, mounts_over(id, snapshot.kind, reservation.lowers));
    TRY(x_parts.store.publish(id, reservation.lowers));
    return mounts;
  };
  auto mounts = make();
  if (!mounts.ok()) drop(id);
  return mounts;
}

// Gives every lower without a path one.
Result<void> Snapshotter::resolve(int64_t id, std::vector<Lower>& lowers) {
  for (Lower& lower : lowers) {
    if (!lower.path.empty()) continue;
    if (!is_pool_run(lower)) {
      lower.path = x_parts.directories.fs(lower.directory_of);
      continue;
    }
    auto mountpoint = x_parts.daemon.mount_chain(lower, mounts_holder(id));
    if (!mountpoint.ok()) {
      return as_daemon_failure(std::move(mountpoint).error())
          .with("mount " + std::to_string(lower.layers.size()) + " pool layers");
    }
    lower.path = std::move(*mountpoint);
  }
  return {};
}

Result<std::vector<Mount>> Snapshotter::mounts_over(int64_t id, SnapshotKind kind,
                                                    std::span<const Lower> lowers) const {
  return make_mounts(kind, {x_parts.directories.fs(id), x_parts.directories.work(id)}, lowers,
                     x_index_off);
}

Result<std::vector<Mount>> Snapshotter::mounts(const std::string& key) {
  TRY(stored, x_parts.store.find(key));
  if (stored.info.kind == SnapshotKind::kCommitted) {
    return precondition_error("snapshot \"" + key + "\" is committed, it has no mounts");
  }
  TRY(lowers, x_parts.store.lowers(stored.id));
  // After a reboot the daemon has no mounts until it is asked for them.
  bool remount = false;
  for (Lower& lower : lowers) {
    if (!is_pool_run(lower) || is_mountpoint(lower.path)) continue;
    lower.path.clear();
    remount = true;
  }
  if (remount) {
    TRY(resolve(stored.id, lowers));
    TRY(x_parts.store.set_lower_paths(stored.id, lowers));
  }
  return mounts_over(stored.id, stored.info.kind, lowers);
}

Result<void> Snapshotter::commit(const std::string& name, const std::string& key,
                                 const Labels& labels, const std::string& rebase_parent) {
  if (name.empty()) return make_error(Errc::kInvalid, "a committed snapshot needs a name");
  TRY(x_parts.store.commit(name, key, labels, rebase_parent));
  x_parts.on_committed();
  x_parts.on_unused();
  return {};
}

Result<void> Snapshotter::remove(const std::string& key) {
  TRY(id, x_parts.store.remove(key));
  // The snapshot is gone whatever happens to its folder; what stays is collected at the next start.
  const auto discarded = x_parts.directories.discard(id);
  if (!discarded.ok()) {
    x_parts.log.warn("snapshot folder not removed", {{"id", id}, {"error", discarded.error()}});
  }
  x_parts.on_unused();
  return {};
}

// Takes back a reservation.
void Snapshotter::drop(int64_t id) {
  auto dropped = x_parts.store.abandon(id);
  if (dropped.ok()) dropped = x_parts.directories.discard(id);
  if (!dropped.ok()) {
    x_parts.log.warn("unfinished snapshot not removed", {{"id", id}, {"error", dropped.error()}});
  }
  x_parts.on_unused();
}

Result<SnapshotInfo> Snapshotter::stat(const std::string& key) {
  TRY(stored, x_parts.store.find(key));
  return std::move(stored.info);
}

Result<SnapshotInfo> Snapshotter::update(const std::string& key, const Labels& labels,
                                         std::span<const std::string> fields) {
  return x_parts.store.update(key, labels, fields);
}

Result<std::vector<SnapshotInfo>> Snapshotter::list(std::span<const SnapshotFilter> filters) {
  TRY(infos, x_parts.store.list());
  std::erase_if(infos,
                [&filters](const SnapshotInfo& info) { return !matches_any(filters, info); });
  return infos;
}

Result<SnapshotUsage> Snapshotter::usage(const std::string& key) {
  TRY(stored, x_parts.store.find(key));
  if (stored.usage) return *stored.usage;
  // A view writes nothing of its own.
  if (stored.info.kind == SnapshotKind::kView) return SnapshotUsage{};
  TRY(usage, x_parts.directories.usage(stored.id));
  if (stored.info.kind == SnapshotKind::kCommitted) {
    TRY(x_parts.store.set_usage(stored.id, usage));
  }
  return usage;
}

}  // namespace dedup
