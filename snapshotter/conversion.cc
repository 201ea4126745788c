#include "snapshotter/conversion.h"

#include <cerrno>

#include "snapshotter/snapshotter.h"

namespace dedup {
namespace {

constexpr std::chrono::milliseconds kNow{0};
constexpr std::chrono::milliseconds kRetry{10'000};

// A directory the daemon died under, and died again when asked again, must not be tried for ever:
// it would keep all later ones waiting.
bool may_succeed_later(const Error& error) {
  return (error.code == Errc::kUnavailable && error.sys_errno != ECONNRESET) ||
         error.code == Errc::kNoSpace || error.code == Errc::kCancelled;
}

}  // namespace

BackgroundThread::Pause Converter::run() {
  auto next = x_store.next_conversion();
  if (!next.ok()) {
    x_log.error("conversion", {{"error", next.error()}});
    return kRetry;
  }
  if (!*next) return std::nullopt;
  const Conversion& conversion = **next;
  const auto converted = convert(conversion);
  if (converted.ok()) {
    x_waiting = false;
    return kNow;
  }
  if (may_succeed_later(converted.error())) {
    if (!x_waiting) {
      x_log.warn("conversion waits", {{"id", conversion.id}, {"error", converted.error()}});
    }
    x_waiting = true;
    return kRetry;
  }
  x_log.warn("directory stays unconverted", {{"id", conversion.id}, {"error", converted.error()}});
  const auto given_up = x_store.give_up_conversion(conversion.id);
  return given_up.ok() ? kNow : kRetry;
}

Result<void> Converter::convert(const Conversion& conversion) {
  const int64_t id = conversion.id;
  auto layer = x_daemon.import_directory(x_directories.fs(id), layer_holder(id));
  if (!layer.ok()) {
    // A directory that was removed under the import is no failure of the import.
    TRY(wanted, x_store.needs_holder(id, SnapshotStore::HolderUse::kLayer));
    if (!wanted) return {};
    return std::move(layer).error();
  }
  if (!conversion.measured) {
    // Later there is no directory left to measure.
    TRY(usage, x_directories.usage(id));
    TRY(x_store.set_usage(id, usage));
  }
  TRY(exists, x_store.finish_conversion(id, *layer));
  if (exists) x_log.info("directory converted", {{"id", id}, {"layer", *layer}});
  return {};
}

}  // namespace dedup
