#include "doors/fanotify_door.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <map>
#include <unordered_map>

#include "doors/door_probe.h"
#include "doors/erofs_mount.h"
#include "doors/fanotify_group.h"
#include "doors/group_queue.h"

namespace dedup {
namespace {

constexpr int kBatchEvents = 64;              // then the loop serves others
constexpr rlim_t kWantedOpenFiles = 1 << 17;  // event fds of 16 full journals are a quarter of it

// The limit on open files after an attempt to raise it.
uint64_t raise_open_files_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  const rlimit wanted{std::max(limit.rlim_cur, kWantedOpenFiles),
                      std::max(limit.rlim_max, kWantedOpenFiles)};
  const rlimit possible{limit.rlim_max, limit.rlim_max};
  if (setrlimit(RLIMIT_NOFILE, &wanted) == 0) return wanted.rlim_cur;
  return setrlimit(RLIMIT_NOFILE, &possible) == 0 ? possible.rlim_cur : limit.rlim_cur;
}

struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileId&) const = default;
};
struct FileIdHash {
  size_t operator()(const FileId& id) const noexcept {
    return std::hash<uint64_t>{}(id.inode * 0x9E3779B97F4A7C15u + id.device);
  }
};

struct FileState {
  FileId id;
  uint64_t bytes = 0;
};
Result<FileState> file_state(int fd) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return errno_error(errno, "fstat of a segment");
  return FileState{{status.st_dev, status.st_ino}, static_cast<uint64_t>(status.st_size)};
}

class EventDoor final : public Door {
 public:
  explicit EventDoor(const DoorContext& context)
      : x_ring(context.ring),
        x_log(context.log),
        x_filler(context.filler),
        x_pid(getpid()),
        x_link(context.link),
        x_shared{x_log, x_link, x_counters, x_budget, [this] { resume_paused(); }} {
    x_budget.limit = std::max<uint64_t>(64, raise_open_files_limit() / 2);
    for (uint32_t i = 0; i < kGroupCount; ++i) x_groups.emplace_back(i, x_shared);
    // An event may wait in the kernel for a segment that nobody attaches any more.
    for (const auto& kept : x_link.kept()) {
      if (const auto state = file_state(kept.fd); state.ok()) {
        x_segment_of[state->id] = kept.segment;
      }
    }
  }

  const char* name() const override { return "fanotify"; }
  bool fails_closed() const override { return false; }
  bool serves_complete() const override { return false; }
  Result<void> attach(uint32_t segment, int fd, const std::string& path) override;
  Result<void> detach(uint32_t segment) override;
  void start() override;
  Result<void> mount(const DoorMount& mount) override;
  Task<Result<void>> probe(std::string path, uint64_t file_offset, uint32_t segment,
                           uint64_t segment_offset) override;
  Task<void> stop() override;
  const DoorCounters& counters() const override { return x_counters; }
  size_t attached() const override { return x_attached.size(); }

 private:
  struct Group {
    Group(uint32_t index, GroupQueue::Shared& shared) : queue(index, shared) {}
    GroupQueue queue;
    std::unique_ptr<Ring::Watch> watch;
    bool scheduled = false;  // a pump is posted
    bool paused = false;     // events wait in the kernel until a slot is free
  };

  Group& group_of(uint32_t segment) { return x_groups[segment % kGroupCount]; }
  void pump(Group& group);
  void schedule(Group& group);
  void resume_paused();
  Result<void> mark(uint32_t segment, int fd);
  void unmark_unused();
  void take(GroupQueue::Taken taken);
  bool claimed_by_probe(const FanotifyEvent& event, uint32_t segment, ByteRange range);
  Task<void> serve(Reply reply, uint32_t segment, ByteRange range, int pid);
  Task<void> settle_old(GroupQueue::Taken taken, uint32_t group);
  Task<void> forget_probe(std::shared_ptr<DoorProbe> probe);
  Task<Result<void>> make_present(uint32_t segment, ByteRange range);
  uint64_t attached_bytes(uint32_t segment) const;

  Ring& x_ring;
  Log& x_log;
  SegmentFiller& x_filler;
  const int x_pid;
  KeptLink& x_link;
  DoorCounters x_counters;
  EventBudget x_budget;
  GroupQueue::Shared x_shared;
  std::deque<Group> x_groups;
  size_t x_paused_groups = 0;
  std::map<uint32_t, UniqueFd> x_attached;
  // Also of detached segments: events that were pending are still answered.
  std::unordered_map<FileId, uint32_t, FileIdHash> x_segment_of;
  std::vector<std::shared_ptr<DoorProbe>> x_probes;
  TaskScope x_scope;
  bool x_stopping = false;
  std::shared_ptr<bool> x_alive = std::make_shared<bool>(true);
};

Result<void> EventDoor::attach(uint32_t segment, int fd, const std::string&) {
  if (x_attached.contains(segment)) return {};
  TRY(x_link.keep(segment, fd));
  return mark(segment, fd);
}

Result<void> EventDoor::mark(uint32_t segment, int fd) {
  TRY(state, file_state(fd));
  UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return errno_error(errno, "attach segment " + std::to_string(segment));
  x_segment_of[state.id] = segment;  // before the mark: an event may come at once
  auto marked = add_pre_access_mark(group_of(segment).queue.fd(), fd);
  if (!marked.ok()) return std::move(marked).error().with("segment " + std::to_string(segment));
  x_attached[segment] = std::move(copy);
  return {};
}

Result<void> EventDoor::detach(uint32_t segment) {
  const auto found = x_attached.find(segment);
  if (found == x_attached.end()) return {};
  TRY(remove_pre_access_mark(group_of(segment).queue.fd(), found->second.get()));
  x_attached.erase(found);
  return x_link.drop(segment);
}

// Segments marked by a worker that died before it mounted them. Marking them here makes the mark
// known, so that it can be removed.
void EventDoor::unmark_unused() {
  for (const KeptLink::Kept& kept : x_link.kept()) {
    if (x_attached.contains(kept.segment)) continue;
    auto outcome = mark(kept.segment, kept.fd);
    if (outcome.ok()) outcome = detach(kept.segment);
    if (!outcome.ok())
      x_log.warn("mark could not be removed",
                 {{"segment", kept.segment}, {"error", outcome.error()}});
  }
}

Result<void> EventDoor::mount(const DoorMount& mount) {
  std::vector<std::string> devices;
  for (const DoorSegment& segment : mount.segments) devices.push_back(segment.path);
  return mount_erofs(mount.image, devices, mount.mountpoint, mount.directio);
}

void EventDoor::start() {
  unmark_unused();
  for (Group& group : x_groups) {
    if (group.queue.fd() < 0) continue;
    auto old = group.queue.take_old();
    if (!old.empty()) {
      x_log.info("events of a dead worker",
                 {{"group", group.queue.index()}, {"events", old.size()}});
    }
    group.watch = x_ring.watch(group.queue.fd(), POLLIN, [this, &group](short) { pump(group); });
    for (auto& taken : old) x_scope.spawn(settle_old(std::move(taken), group.queue.index()));
  }
}

void EventDoor::pump(Group& group) {
  for (int i = 0; i < kBatchEvents; ++i) {
    if (x_stopping || group.paused) return;
    auto outcome = group.queue.read_one();
    switch (outcome.status) {
      case GroupQueue::Status::kEvent:
        take(std::move(*outcome.taken));
        break;
      case GroupQueue::Status::kNothing:
        break;
      case GroupQueue::Status::kEmpty:
        return;
      case GroupQueue::Status::kFull:
        group.paused = true;
        ++x_paused_groups;
        return;
    }
  }
  schedule(group);
}

void EventDoor::schedule(Group& group) {
  if (std::exchange(group.scheduled, true)) return;
  x_ring.post([this, &group, alive = std::weak_ptr<bool>(x_alive)] {
    if (alive.expired()) return;
    group.scheduled = false;
    pump(group);
  });
}

void EventDoor::resume_paused() {
  if (x_paused_groups == 0) return;
  for (Group& group : x_groups) {
    if (!group.paused || !group.queue.can_read()) continue;
    group.paused = false;
    --x_paused_groups;
    schedule(group);
  }
}

void EventDoor::take(GroupQueue::Taken taken) {
  auto& [event, reply] = taken;
  const auto state = file_state(reply.fd());
  const auto found = state.ok() ? x_segment_of.find(state->id) : x_segment_of.end();
  if (found == x_segment_of.end()) {
    x_log.error("event for a file that is no segment", {{"pid", event.pid}, {"fd", reply.fd()}});
    return reply.deny(EIO);
  }
  const uint32_t segment = found->second;
  reply.set_segment(segment);
  const ByteRange range = wanted_range(event, state->bytes);
  if (claimed_by_probe(event, segment, range)) return reply.deny(EIO);
  if (range.empty() || x_filler.present(segment, range)) return reply.allow();
  x_scope.spawn(serve(std::move(reply), segment, range, event.pid));
}

bool EventDoor::claimed_by_probe(const FanotifyEvent& event, uint32_t segment, ByteRange range) {
  if (event.pid != x_pid) return false;
  // All are asked: mounts of images that share a layer are probed by the same page of it, and
  // events do not say whose read they are of.
  return std::ranges::count_if(
             x_probes, [&](const auto& probe) { return probe->claims(segment, range); }) > 0;
}

Task<Result<void>> EventDoor::make_present(uint32_t segment, ByteRange range) {
  if (range.empty() || x_filler.present(segment, range)) co_return Result<void>();
  co_return co_await x_filler.ensure(segment, range, Priority::kOnDemand);
}

Task<void> EventDoor::serve(Reply reply, uint32_t segment, ByteRange range, int pid) {
  const auto done = co_await make_present(segment, range);
  if (done.ok()) co_return reply.allow();
  x_log.warn("read denied", {{"segment", segment},
                             {"offset", range.offset},
                             {"bytes", range.length},
                             {"pid", pid},
                             {"error", done.error()}});
  reply.deny(errno_for(done.error()));
}

uint64_t EventDoor::attached_bytes(uint32_t segment) const {
  const auto found = x_attached.find(segment);
  if (found == x_attached.end()) return UINT64_MAX;
  const auto state = file_state(found->second.get());
  return state.ok() ? state->bytes : UINT64_MAX;
}

Task<void> EventDoor::settle_old(GroupQueue::Taken taken, uint32_t group) {
  std::vector<uint32_t> candidates;
  if (const uint32_t segment = taken.reply.segment(); segment != 0) {
    candidates.push_back(segment);
  } else {
    for (const auto& [attached, fd] : x_attached) {
      if (attached % kGroupCount == group) candidates.push_back(attached);
    }
  }
  if (candidates.empty()) co_return;  // nothing can be vouched for: the reply denies
  for (const uint32_t segment : candidates) {
    const ByteRange range = wanted_range(taken.event, attached_bytes(segment));
    const auto done = co_await make_present(segment, range);
    if (!done.ok()) {
      x_log.warn("read of a dead worker denied", {{"segment", segment}, {"error", done.error()}});
      co_return taken.reply.deny(errno_for(done.error()));
    }
  }
  taken.reply.allow();
}

Task<Result<void>> EventDoor::probe(std::string path, uint64_t file_offset, uint32_t segment,
                                    uint64_t segment_offset) {
  auto probe =
      std::make_shared<DoorProbe>(x_ring, std::move(path), file_offset, segment, segment_offset);
  x_probes.push_back(probe);
  probe->start();
  x_scope.spawn(DoorProbe::expire(probe));
  x_scope.spawn(forget_probe(probe));
  co_return co_await probe->wait_verdict();
}

Task<void> EventDoor::forget_probe(std::shared_ptr<DoorProbe> probe) {
  co_await probe->wait_ended();
  std::erase(x_probes, probe);
}

Task<void> EventDoor::stop() {
  // While a probe is running its events must still be answered.
  while (!x_probes.empty()) {
    const auto probe = x_probes.front();
    co_await probe->wait_ended();
    std::erase(x_probes, probe);
  }
  x_stopping = true;
  for (Group& group : x_groups) group.watch.reset();
  co_await x_scope.join();
}

}  // namespace

Result<std::unique_ptr<Door>> FanotifyDoor::open(const DoorContext& context) {
  TRY(supported(context.directory));
  for (const int group : context.link.header().group_fd) {
    if (group < 0) return make_error(Errc::kUnsupported, "the keeper has no fanotify groups");
  }
  return std::unique_ptr<Door>(std::make_unique<EventDoor>(context));
}

}  // namespace dedup
