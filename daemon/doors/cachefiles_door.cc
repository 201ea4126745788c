#include "doors/cachefiles_door.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <set>
#include <unordered_map>

#include "base/bytes.h"
#include "doors/cachefiles_device.h"
#include "doors/cookie_files.h"
#include "doors/erofs_mount.h"
#include "doors/fill_holes.h"
#include "doors/ondemand_mount.h"

namespace dedup {
namespace {

constexpr int kBatchMessages = 64;  // then the loop serves others
constexpr uint64_t kBlockBytes = 4096;
constexpr std::chrono::milliseconds kPauseAfterError{20};

std::string cookie_of(uint32_t segment) {
  char text[16];
  std::snprintf(text, sizeof(text), "%08u", segment);
  return text;
}

std::optional<uint32_t> segment_of(const std::string& cookie) {
  uint32_t segment = 0;
  const auto [end, failed] = std::from_chars(cookie.data(), cookie.data() + cookie.size(), segment);
  if (failed != std::errc() || cookie_of(segment) != cookie) return std::nullopt;
  return segment;
}

// A file the kernel has open. Kept until its CLOSE and the end of what is asked of it.
struct Object {
  UniqueFd anonymous;  // the kernel's, to answer READs with
  UniqueFd file;       // the same file by its name, O_DIRECT; invalid when it has none any more
  std::optional<uint32_t> segment;  // none: a metadata image, complete
  uint64_t bytes = 0;
  uint32_t opened_by = 0;  // message id of the OPEN
};
using ObjectPtr = std::shared_ptr<Object>;

class CookieDoor final : public Door {
 public:
  CookieDoor(const DoorContext& context, CookieFiles files, UniqueFd device, int kept_device)
      : x_ring(context.ring),
        x_workers(context.workers),
        x_log(context.log),
        x_filler(context.filler),
        x_link(context.link),
        x_files(std::move(files)),
        x_owned_device(std::move(device)),
        x_device(x_owned_device.valid() ? x_owned_device.get() : kept_device),
        x_restore(!x_owned_device.valid()) {}

  const char* name() const override { return "cachefiles"; }
  bool fails_closed() const override { return true; }
  bool serves_complete() const override { return true; }
  Result<void> attach(uint32_t segment, int fd, const std::string& path) override;
  Result<void> detach(uint32_t segment) override;
  void start() override;
  Result<void> mount(const DoorMount& mount) override;
  // Fails closed: nothing to show.
  Task<Result<void>> probe(std::string, uint64_t, uint32_t, uint64_t) override {
    co_return Result<void>();
  }
  Task<void> stop() override;
  const DoorCounters& counters() const override { return x_counters; }
  size_t attached() const override { return x_attached.size(); }

 private:
  void pump();
  Task<void> pump_later();
  void take(const CachefilesMessage& message);
  void on_open(const CachefilesOpen& open);
  Result<ObjectPtr> make_object(const CachefilesOpen& open, UniqueFd anonymous) const;
  void on_read(const CachefilesRead& read);
  Task<void> serve(ObjectPtr object, CachefilesRead read);
  Task<Result<void>> fill(ObjectPtr object, ByteRange range);
  Result<void> mount_as(const DoorMount& mount, const std::string& fsid, const std::string& image);

  Ring& x_ring;
  Workers& x_workers;
  Log& x_log;
  SegmentFiller& x_filler;
  KeptLink& x_link;
  const CookieFiles x_files;
  UniqueFd x_owned_device;
  const int x_device;
  const bool x_restore;  // an earlier worker has bound it
  DoorCounters x_counters;
  std::set<uint32_t> x_attached;
  std::unordered_map<uint32_t, ObjectPtr> x_objects;  // by object id
  std::unique_ptr<Ring::Watch> x_watch;
  TaskScope x_scope;
  bool x_stopping = false;
  std::shared_ptr<bool> x_alive = std::make_shared<bool>(true);
};

// mount() gives it its name, on a worker. A mount that outlived a worker has opened it by that
// name.
Result<void> CookieDoor::attach(uint32_t segment, int, const std::string&) {
  x_attached.insert(segment);
  return {};
}

// On the loop: one unlink of a file that goes on under its name in the pool; nothing is freed.
Result<void> CookieDoor::detach(uint32_t segment) {
  if (x_attached.erase(segment) != 0) x_files.remove(cookie_of(segment));
  return {};
}

void CookieDoor::start() {
  if (x_restore) {
    std::set<std::string> used;
    for (const uint32_t segment : x_attached) used.insert(cookie_of(segment));
    x_files.remove_all_but(used);
  }
  x_watch = x_ring.watch(x_device, POLLIN, [this](short) { pump(); });
  if (!x_restore) return;
  const auto restored = write_cachefiles_command(x_device, "restore");
  if (!restored.ok())
    x_log.error("requests of a dead worker are lost", {{"error", restored.error()}});
}

void CookieDoor::pump() {
  for (int i = 0; i < kBatchMessages; ++i) {
    if (x_stopping) return;
    const auto message = read_cachefiles_message(x_device);
    if (!message.ok()) {
      x_log.error("a request of the kernel is lost", {{"error", message.error()}});
      // What else waits is not announced again, so go on; soon, not now: the cause may last.
      x_scope.spawn(pump_later());
      return;
    }
    if (!message->has_value()) return;
    take(**message);
  }
  x_ring.post([this, alive = std::weak_ptr<bool>(x_alive)] {
    if (!alive.expired()) pump();
  });
}

Task<void> CookieDoor::pump_later() {
  co_await x_ring.sleep(kPauseAfterError);
  pump();
}

void CookieDoor::take(const CachefilesMessage& message) {
  if (const auto* open = std::get_if<CachefilesOpen>(&message)) on_open(*open);
  if (const auto* read = std::get_if<CachefilesRead>(&message)) on_read(*read);
  if (const auto* close = std::get_if<CachefilesClose>(&message)) x_objects.erase(close->object);
}

// Answered at once: nothing ends a mount that waits for it.
void CookieDoor::on_open(const CachefilesOpen& open) {
  auto object = make_object(open, UniqueFd(open.fd));
  const int64_t size = object.ok() ? static_cast<int64_t>((*object)->bytes) : -ENOENT;
  if (!object.ok()) {
    x_log.error("the kernel opens what is not attached",
                {{"cookie", open.cookie}, {"error", object.error()}});
  }
  const auto answered = write_cachefiles_command(x_device, copen_command(open.message, size));
  if (!answered.ok()) x_log.warn("OPEN could not be answered", {{"error", answered.error()}});
  if (object.ok() && answered.ok()) x_objects[open.object] = std::move(*object);
}

// On the loop: the kernel has the file open, so nothing here waits for a disk.
Result<ObjectPtr> CookieDoor::make_object(const CachefilesOpen& open, UniqueFd anonymous) const {
  auto object = std::make_shared<Object>();
  object->anonymous = std::move(anonymous);
  object->segment = segment_of(open.cookie);
  object->opened_by = open.message;
  if (object->segment && !x_attached.contains(*object->segment)) {
    return make_error(Errc::kNotFound, "no such segment");
  }
  TRY(path, x_files.path_of(open.volume, open.cookie));
  object->file = UniqueFd(::open(path.c_str(), O_RDWR | O_DIRECT | O_NOFOLLOW | O_CLOEXEC));
  // A metadata image has no name after its mount; a kernel that opens it again knows its file.
  const int known = object->file.valid() ? object->file.get() : object->anonymous.get();
  const off_t end = ::lseek(known, 0, SEEK_END);
  if (end < 0) return errno_error(errno, path);
  object->bytes = static_cast<uint64_t>(end);
  return object;
}

void CookieDoor::on_read(const CachefilesRead& read) {
  const auto found = x_objects.find(read.object);
  if (found == x_objects.end()) {
    x_log.error("READ of an object that is not open", {{"object", read.object}});
    return;
  }
  x_scope.spawn(serve(found->second, read));
}

Task<Result<void>> CookieDoor::fill(ObjectPtr object, ByteRange range) {
  if (range.empty()) co_return Result<void>();
  if (object->segment) {
    CO_TRY(co_await x_filler.ensure(*object->segment, range, Priority::kOnDemand));
  }
  if (!object->file.valid()) co_return make_error(Errc::kNotFound, "the file has no name");
  // All that belongs there is there; what is still a hole is padding.
  CO_TRY(co_await x_workers.run(Priority::kOnDemand,
                                [&] { return fill_holes(object->file.get(), range); }));
  const auto offset = static_cast<off_t>(range.offset);
  if (::lseek(object->anonymous.get(), offset, SEEK_DATA) != offset) {
    co_return make_error(Errc::kCorruption, "the kernel keeps another file for this segment");
  }
  co_return Result<void>();
}

Task<void> CookieDoor::serve(ObjectPtr object, CachefilesRead read) {
  // Nothing in the kernel keeps a request inside the object.
  ByteRange range = read.range.intersect({0, object->bytes});
  const uint64_t begin = round_down(range.offset, kBlockBytes);
  if (!range.empty()) range = {begin, round_up(range.end(), kBlockBytes) - begin};
  const auto filled = co_await fill(object, range);
  if (filled.ok()) {
    ++x_counters.answered;
    // Message ids go up: who asked before the object was opened had asked a dead worker.
    if (x_restore && read.message < object->opened_by) ++x_counters.recovered;
  } else {
    ++x_counters.denied;
    x_log.warn("read denied", {{"segment", object->segment.value_or(0)},
                               {"offset", read.range.offset},
                               {"bytes", read.range.length},
                               {"error", filled.error()}});
  }
  // The kernel asks once more for a single page when it finds nothing, then the reader gets EIO.
  const auto answered = complete_cachefiles_read(object->anonymous.get(), read.message);
  if (!answered.ok() && answered.error().sys_errno != EINVAL) {  // EINVAL: its reader was killed
    x_log.warn("READ could not be answered", {{"error", answered.error()}});
  }
}

Result<void> CookieDoor::mount_as(const DoorMount& mount, const std::string& fsid,
                                  const std::string& image) {
  OndemandMount request{fsid, x_files.domain(), {}, mount.mountpoint};
  for (const DoorSegment& segment : mount.segments) {
    TRY(x_files.add(cookie_of(segment.id), segment.path));
    request.devices.push_back(cookie_of(segment.id));
  }
  TRY(x_files.add(fsid, image));
  auto mounted = mount_ondemand(request);
  x_files.remove(fsid);
  return mounted;
}

// A superblock that a container still reads keeps its fsid and its file: the next mount of the same
// image gets others.
Result<void> CookieDoor::mount(const DoorMount& mount) {
  TRY(fill_holes_of_file(mount.image));
  for (int copy = 0; copy < kMaxImageCopies; ++copy) {
    const std::string image = copy_of_image(mount.image, copy);
    if (metadata_file_in_use(image)) continue;
    if (copy > 0) {
      std::error_code failed;
      std::filesystem::copy_file(mount.image, image,
                                 std::filesystem::copy_options::overwrite_existing, failed);
      if (failed) return errno_error(failed.value(), "copy to " + image);
    }
    const std::string suffix = copy == 0 ? "" : "-" + std::to_string(copy);
    auto mounted = mount_as(mount, mount.name + suffix, image);
    if (mounted.ok() || mounted.error().code != Errc::kExists) return mounted;
  }
  return make_error(Errc::kExists, "too many mounts of " + mount.image + " are still in use");
}

Task<void> CookieDoor::stop() {
  x_stopping = true;
  x_watch.reset();
  co_await x_scope.join();
  x_objects.clear();
  if (!x_attached.empty()) co_return;
  const auto dropped = x_link.drop(kKeptCachefiles);
  if (!dropped.ok()) x_log.warn("the keeper holds on to cachefiles", {{"error", dropped.error()}});
}

}  // namespace

Result<void> CachefilesDoor::supported(const std::string& directory) {
  const std::string cache = directory + "/cachefiles-trial";
  TRY(check_cachefiles_directory(directory));
  TRY(device, open_cachefiles());
  TRY(files, CookieFiles::create(cache));
  auto bound = bind_cachefiles(device.get(), cache);
  device.reset();
  std::error_code ignored;
  std::filesystem::remove_all(cache, ignored);
  return bound;
}

Result<std::unique_ptr<Door>> CachefilesDoor::open(const DoorContext& context) {
  const std::string directory = context.directory + "/cachefiles";
  const int kept = context.link.kept_device(kKeptCachefiles);
  if (kept >= 0) {
    TRY(files, CookieFiles::open(directory));
    return std::unique_ptr<Door>(
        std::make_unique<CookieDoor>(context, std::move(files), UniqueFd(), kept));
  }
  TRY(check_cachefiles_directory(context.directory));
  TRY(device, open_cachefiles());
  TRY(files, CookieFiles::create(directory));
  TRY(bind_cachefiles(device.get(), directory));
  TRY(context.link.keep(kKeptCachefiles, device.get()));
  return std::unique_ptr<Door>(
      std::make_unique<CookieDoor>(context, std::move(files), std::move(device), -1));
}

}  // namespace dedup
