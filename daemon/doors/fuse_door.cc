#include "doors/fuse_door.h"

#include <poll.h>

#include <cerrno>

#include "doors/fuse_files.h"
#include "doors/fuse_image.h"
#include "doors/fuse_interrupt.h"
#include "doors/fuse_mount.h"
#include "doors/fuse_read.h"

namespace dedup {
namespace {

constexpr int kBatchRequests = 64;  // then the loop serves others
// Fewer than there are slots: LOOKUP and OPEN get through when all reads wait for data.
constexpr uint16_t kMaxBackground = kFuseSlots - 256;

class RequestDoor final : public Door {
 public:
  RequestDoor(const DoorContext& context, FuseMount fuse, ErofsBacking backing)
      : x_ring(context.ring),
        x_workers(context.workers),
        x_log(context.log),
        x_filler(context.filler),
        x_link(context.link),
        x_backing(backing),
        x_fuse(std::move(fuse)),
        x_queue(x_fuse.device(), x_link.fuse_journal(), x_log, x_counters, [this] { resume(); }) {}

  const char* name() const override { return "fuse"; }
  bool fails_closed() const override { return true; }
  bool serves_complete() const override { return true; }
  Result<void> attach(uint32_t segment, int fd, const std::string&) override {
    return x_files.attach(segment, fd);
  }
  Result<void> detach(uint32_t segment) override {
    x_files.detach(segment);
    return {};
  }
  void start() override;
  Result<void> mount(const DoorMount& mount) override {
    return mount_image(x_fuse, mount, x_backing);
  }
  Task<Result<void>> probe(std::string, uint64_t, uint32_t, uint64_t) override {
    co_return Result<void>();
  }
  Task<void> stop() override;
  const DoorCounters& counters() const override { return x_counters; }
  size_t attached() const override { return x_files.size(); }

 private:
  using File = std::shared_ptr<const FuseFile>;

  void pump();
  void schedule();
  void resume();
  void take(FuseQueue::Taken taken);
  void take_read(FuseReply reply, const FuseRequest& request);
  void take_interrupt(FuseReply reply, const FuseRequest& request);
  Task<void> serve(FuseReply reply, File file, ByteRange range, uint32_t pid);
  Task<void> serve_from_disk(FuseReply reply, File file, ByteRange range);
  Task<Result<void>> make_present(uint32_t segment, ByteRange range);

  Ring& x_ring;
  Workers& x_workers;
  Log& x_log;
  SegmentFiller& x_filler;
  KeptLink& x_link;
  DoorCounters x_counters;
  const ErofsBacking x_backing;
  const FuseMount x_fuse;
  FuseQueue x_queue;
  FuseFiles x_files{kMaxBackground};
  CachedReads x_cached;
  std::unique_ptr<Ring::Watch> x_watch;
  TaskScope x_scope;
  bool x_scheduled = false;  // a pump is posted
  bool x_paused = false;     // requests wait in the kernel until a slot is free
  bool x_stopping = false;
  std::shared_ptr<bool> x_alive = std::make_shared<bool>(true);
};

void RequestDoor::start() {
  auto old = x_queue.take_old();
  if (!old.empty()) x_log.info("requests of a dead worker", {{"requests", old.size()}});
  x_watch = x_ring.watch(x_fuse.device(), POLLIN, [this](short) { pump(); });
  for (auto& taken : old) take(std::move(taken));
}

void RequestDoor::pump() {
  for (int i = 0; i < kBatchRequests; ++i) {
    if (x_stopping || x_paused) return;
    auto outcome = x_queue.read_one();
    switch (outcome.status) {
      case FuseQueue::Status::kRequest:
        take(std::move(*outcome.taken));
        break;
      case FuseQueue::Status::kNothing:
        break;
      case FuseQueue::Status::kEmpty:
        return;
      case FuseQueue::Status::kFull:
        x_paused = true;
        return;
      case FuseQueue::Status::kGone:
        x_watch.reset();
        return;
    }
  }
  schedule();
}

void RequestDoor::schedule() {
  if (std::exchange(x_scheduled, true)) return;
  x_ring.post([this, alive = std::weak_ptr<bool>(x_alive)] {
    if (alive.expired()) return;
    x_scheduled = false;
    pump();
  });
}

void RequestDoor::resume() {
  if (!x_paused) return;
  x_paused = false;
  schedule();
}

void RequestDoor::take(FuseQueue::Taken taken) {
  auto& [request, reply] = taken;
  if (request.opcode == FUSE_READ) return take_read(std::move(reply), request);
  if (request.opcode == FUSE_INTERRUPT) return take_interrupt(std::move(reply), request);
  x_files.answer(std::move(reply), request);
}

void RequestDoor::take_read(FuseReply reply, const FuseRequest& request) {
  auto file = x_files.of_node(request.node);
  const auto range = file ? read_range(request, file->bytes) : std::nullopt;
  if (!range) {
    x_log.error("FUSE read that cannot be served", {{"node", request.node}, {"pid", request.pid}});
    return reply.fail(EIO);
  }
  if (range->empty()) return reply.send({});
  if (x_filler.present(file->segment, *range)) {
    if (const auto bytes = x_cached.read(*file, *range); !bytes.empty()) return reply.send(bytes);
  }
  x_scope.spawn(serve(std::move(reply), std::move(file), *range, request.pid));
}

void RequestDoor::take_interrupt(FuseReply reply, const FuseRequest& request) {
  const auto in = fuse_argument<fuse_interrupt_in>(request);
  if (!in) return reply.drop();
  x_scope.spawn(answer_when_killed(x_ring, x_queue, std::move(reply), in->unique));
}

Task<Result<void>> RequestDoor::make_present(uint32_t segment, ByteRange range) {
  if (x_filler.present(segment, range)) co_return Result<void>();
  co_return co_await x_filler.ensure(segment, range, Priority::kOnDemand);
}

Task<void> RequestDoor::serve(FuseReply reply, File file, ByteRange range, uint32_t pid) {
  const auto done = co_await make_present(file->segment, range);
  if (!done.ok()) {
    x_log.warn("read denied", {{"segment", file->segment},
                               {"offset", range.offset},
                               {"bytes", range.length},
                               {"pid", pid},
                               {"error", done.error()}});
    co_return reply.fail(EIO);
  }
  const auto bytes = x_cached.read(*file, range);
  if (!bytes.empty()) co_return reply.send(bytes);
  co_await serve_from_disk(std::move(reply), std::move(file), range);
}

// The worker sends what it has read itself, so that no more buffers are in use than workers.
Task<void> RequestDoor::serve_from_disk(FuseReply reply, File file, ByteRange range) {
  const auto sent = co_await x_workers.run(Priority::kOnDemand, [&]() -> Result<int> {
    TRY(bytes, read_from_disk(*file, range));
    return x_queue.write_answer(reply.unique(), 0, bytes);
  });
  if (sent.ok()) co_return reply.was_sent(*sent);
  x_log.error("segment cannot be read", {{"segment", file->segment}, {"error", sent.error()}});
  reply.fail(EIO);
}

Task<void> RequestDoor::stop() {
  x_stopping = true;
  x_watch.reset();
  co_await x_scope.join();
  const auto forgotten = FuseMount::forget(x_link);
  if (!forgotten.ok()) x_log.warn("FUSE connection kept", {{"error", forgotten.error()}});
}

}  // namespace

Result<std::unique_ptr<Door>> FuseDoor::open(const DoorContext& context, FuseDoorOptions options) {
  TRY(backing, fuse_door_backing(context.directory));
  TRY(fuse, FuseMount::open(context.link));
  if (options.always_loop_devices) backing = ErofsBacking::kBlockDevice;
  return std::unique_ptr<Door>(std::make_unique<RequestDoor>(context, std::move(fuse), backing));
}

}  // namespace dedup
