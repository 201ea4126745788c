#include "doors/fuse_queue.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace dedup {

FuseReply::~FuseReply() {
  if (x_slot != nullptr) fail(EIO);
}

void FuseReply::send(std::span<const std::byte> payload) {
  finish(0, x_queue->write_answer(x_unique, 0, payload));
}

void FuseReply::fail(int number) {
  finish(number, x_queue->write_answer(x_unique, number, {}));
}

void FuseReply::drop() {
  finish(0, ENOENT);
}

void FuseReply::finish(int number, int outcome) {
  FuseQueue& queue = *x_queue;
  DoorCounters& counters = queue.x_counters;
  if (outcome == 0 && x_opcode == FUSE_READ) ++(number == 0 ? counters.answered : counters.denied);
  if (outcome == 0 && x_origin == Origin::kInherited) ++counters.recovered;
  // The kernel ends a request with EIO when it cannot take its answer.
  if (outcome != 0 && outcome != ENOENT) {
    queue.x_log.error("FUSE answer refused",
                      {{"opcode", x_opcode}, {"error", errno_error(outcome, "write")}});
  }
  queue.x_journal.give_back(std::exchange(x_slot, nullptr));
  if (queue.x_on_freed) queue.x_on_freed();
}

FuseQueue::FuseQueue(int device, std::span<FuseSlot> slots, Log& log, DoorCounters& counters,
                     std::function<void()> on_freed)
    : x_device(device),
      x_slots(slots),
      x_log(log),
      x_counters(counters),
      x_on_freed(std::move(on_freed)),
      x_journal(slots) {}

FuseQueue::ReadOutcome FuseQueue::read_one() {
  FuseSlot* slot = x_journal.take();
  if (slot == nullptr) return {Status::kFull, std::nullopt};
  const iovec parts[] = {{slot->request.data(), slot->request.size()},
                         {x_rest.data(), x_rest.size()}};
  const ssize_t got = ::readv(x_device, parts, 2);
  if (got <= 0) {
    const int number = got < 0 ? errno : ENODEV;
    x_journal.give_back(slot);
    return after_failed_read(number);
  }
  const auto request = parse_fuse_request(slot->request);
  if (!request.ok()) {
    x_log.error("FUSE request that cannot be answered", {{"error", request.error()}});
    x_journal.give_back(slot);
    return {Status::kNothing, std::nullopt};
  }
  return {Status::kRequest,
          Taken{*request, FuseReply(*this, slot, *request, FuseReply::Origin::kOwn)}};
}

FuseQueue::ReadOutcome FuseQueue::after_failed_read(int number) {
  if (number == EAGAIN) return {Status::kEmpty, std::nullopt};
  // ENOENT: the reader left while its request was being copied. EIO: the copy failed, and so did
  // that request.
  if (number == EINTR || number == ENOENT || number == EIO) return {Status::kNothing, std::nullopt};
  x_log.error("the FUSE connection has ended: images mounted through it give EIO",
              {{"error", errno_error(number, "read of /dev/fuse")},
               {"advice", "restart dedupd and the containers that used it"}});
  return {Status::kGone, std::nullopt};
}

std::vector<FuseQueue::Taken> FuseQueue::take_old() {
  std::vector<Taken> old;
  for (FuseSlot& slot : x_slots) {
    if (!FuseJournal::in_use(slot)) continue;
    const auto request = parse_fuse_request(slot.request);
    if (request.ok()) {
      old.push_back({*request, FuseReply(*this, &slot, *request, FuseReply::Origin::kInherited)});
    } else {
      x_journal.give_back(&slot);
    }
  }
  return old;
}

bool FuseQueue::holds(const FuseSlot& slot, uint64_t unique) {
  const auto request = parse_fuse_request(slot.request);
  return request.ok() && request->unique == unique;
}

const FuseSlot* FuseQueue::slot_of(uint64_t unique) const {
  const auto found =
      std::ranges::find_if(x_slots, [&](const FuseSlot& slot) { return holds(slot, unique); });
  return found == x_slots.end() ? nullptr : &*found;
}

int FuseQueue::write_answer(uint64_t unique, int number, std::span<const std::byte> payload) const {
  fuse_out_header header = answer_header(unique, number, payload.size());
  const iovec parts[] = {{&header, sizeof(header)},
                         {const_cast<std::byte*>(payload.data()), payload.size()}};
  ssize_t done;
  do {
    done = ::writev(x_device, parts, payload.empty() ? 1 : 2);
  } while (done < 0 && errno == EINTR);
  return done < 0 ? errno : 0;
}

}  // namespace dedup
