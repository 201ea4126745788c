#include "doors/group_queue.h"

#include <unistd.h>

#include <cerrno>

#include "doors/fanotify_abi.h"

namespace dedup {

Reply::~Reply() {
  if (x_slot != nullptr) deny(EIO);
}

void Reply::allow() {
  finish(FAN_ALLOW);
}

void Reply::deny(int number) {
  finish(fanotify_deny(deniable_errno(number)));
}

void Reply::finish(uint32_t response) {
  x_queue->answer(std::exchange(x_slot, nullptr), x_fd, x_origin, response);
}

GroupQueue::GroupQueue(uint32_t index, Shared& shared)
    : x_index(index),
      x_fd(shared.link.header().group_fd[index]),
      x_shared(shared),
      x_journal(shared.link.journal(index)) {}

bool GroupQueue::can_read() const {
  return x_journal.free_slots() > 0 && x_shared.budget.taken < x_shared.budget.limit;
}

GroupQueue::ReadOutcome GroupQueue::read_one() {
  if (!can_read()) return {Status::kFull, std::nullopt};
  JournalSlot* slot = x_journal.take();
  const ssize_t got = ::read(x_fd, slot->event.data(), slot->event.size());
  if (got <= 0) {
    const int number = got < 0 ? errno : EAGAIN;
    x_journal.give_back(slot);
    return {after_failed_read(number), std::nullopt};
  }
  const auto event = parse_event({slot->event.data(), static_cast<size_t>(got)});
  if (!event.ok() || event->fd < 0) {
    x_shared.log.error(
        "fanotify event that cannot be answered",
        {{"group", x_index}, {"reason", event.ok() ? "no fd" : event.error().context}});
    x_journal.give_back(slot);
    return {Status::kNothing, std::nullopt};
  }
  ++x_shared.budget.taken;
  return {Status::kEvent, Taken{*event, Reply(*this, slot, event->fd, Reply::Origin::kOwn)}};
}

GroupQueue::Status GroupQueue::after_failed_read(int number) {
  if (number == EAGAIN) return Status::kEmpty;
  if (number == EINTR) return Status::kNothing;
  // The kernel has taken the event off the queue and denied it. Giving up would make later reads
  // of everybody zeros, so go on unless the group itself is unusable.
  x_shared.log.error("fanotify read failed, one read of a container got EIO",
                     {{"group", x_index}, {"error", errno_error(number, "read")}});
  if (number == EBADF || number == EINVAL || number == EFAULT) return Status::kEmpty;
  ++x_shared.counters.denied;
  return Status::kNothing;
}

std::vector<GroupQueue::Taken> GroupQueue::take_old() {
  std::vector<Taken> old;
  for (JournalSlot& slot : x_shared.link.journal(x_index)) {
    if (!Journal::in_use(slot)) continue;
    const auto event = parse_event(slot.event);
    if (!event.ok() || event->fd < 0) {
      x_journal.give_back(&slot);
      continue;
    }
    ++x_shared.budget.taken;
    old.push_back({*event, Reply(*this, &slot, event->fd, Reply::Origin::kInherited)});
  }
  return old;
}

void GroupQueue::answer(JournalSlot* slot, int fd, Reply::Origin origin, uint32_t response) {
  const bool answered = write_response(fd, response);
  auto& counters = x_shared.counters;
  if (answered) ++(response == FAN_ALLOW ? counters.answered : counters.denied);
  if (answered && origin == Reply::Origin::kInherited) ++counters.recovered;
  // In this order: the number is free for the kernel only after the journal has forgotten it.
  x_journal.give_back(slot);
  if (origin == Reply::Origin::kOwn) {
    ::close(fd);
  } else {
    x_shared.link.release_number(fd);
  }
  --x_shared.budget.taken;
  if (x_shared.on_freed) x_shared.on_freed();
}

// False when the kernel knows no such event: it was answered before, or its reader is gone.
bool GroupQueue::write_response(int fd, uint32_t response) {
  fanotify_response message{fd, response};
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (::write(x_fd, &message, sizeof(message)) == static_cast<ssize_t>(sizeof(message))) {
      return true;
    }
    const int number = errno;
    if (number == ENOENT) return false;
    if (number == EINTR) continue;
    x_shared.log.error("fanotify answer refused, answering EIO",
                       {{"group", x_index}, {"error", errno_error(number, "write")}});
    message.response = fanotify_deny(EIO);
  }
  return false;
}

}  // namespace dedup
