#include "snapshotter/sweep.h"

#include <charconv>
#include <optional>

namespace dedup {
namespace {

constexpr std::chrono::milliseconds kRetry{30'000};

struct HolderName {
  int64_t id = 0;
  SnapshotStore::HolderUse use = SnapshotStore::HolderUse::kLayer;
};

// Nothing for a name that is not one of ours (snapshotter.h: layer_holder, mounts_holder).
std::optional<HolderName> parse_holder(std::string_view name) {
  constexpr std::string_view kPrefix = "snapshot:";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  HolderName holder;
  const auto number = std::from_chars(name.data(), name.data() + name.size(), holder.id);
  if (number.ec != std::errc()) return std::nullopt;
  name.remove_prefix(static_cast<size_t>(number.ptr - name.data()));
  if (name == "/mounts") {
    holder.use = SnapshotStore::HolderUse::kMounts;
    return holder;
  }
  return name.empty() ? std::optional(holder) : std::nullopt;
}

}  // namespace

Result<void> Sweeper::sweep_directories() {
  TRY(unused, x_store.take_unused_directories());
  for (const int64_t id : unused) TRY(x_directories.discard(id));
  return x_directories.empty_removed();
}

Result<void> Sweeper::sweep_holders() {
  // Names first, rows second: a row is there before the daemon hears of its holder, so a name
  // without a row belongs to a snapshot that was removed.
  TRY(names, x_daemon.holders("snapshot:"));
  for (const std::string& name : names) {
    const auto holder = parse_holder(name);
    if (!holder) continue;
    TRY(needed, x_store.needs_holder(holder->id, holder->use));
    if (!needed) TRY(x_daemon.release(name));
  }
  return {};
}

Result<void> Sweeper::sweep() {
  const std::lock_guard lock(x_mutex);
  const auto directories = sweep_directories();
  const auto holders = sweep_holders();
  x_holders_left = !holders.ok();
  if (!holders.ok() && holders.error().code != Errc::kUnavailable) {
    x_log.warn("the daemon did not release what is unused", {{"error", holders.error()}});
  }
  return directories;
}

BackgroundThread::Pause Sweeper::run() {
  const auto swept = sweep();
  if (!swept.ok()) x_log.warn("unused directories not deleted", {{"error", swept.error()}});
  if (!swept.ok() || x_holders_left) return kRetry;
  return std::nullopt;
}

}  // namespace dedup
