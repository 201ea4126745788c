// GroupQueue: one fanotify group with its journal: takes events out of the kernel and answers
// them. Reply: the duty to answer one event; whatever way it ends, the kernel gets an answer. Loop
// thread; queues outlive their replies.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/log.h"
#include "doors/door.h"
#include "doors/fanotify_event.h"
#include "doors/journal.h"
#include "doors/kept_link.h"

namespace dedup {

class GroupQueue;

// Bound on the event fds of all groups together. An event read without a free fd is denied by the
// kernel itself, so we stop reading well before.
struct EventBudget {
  uint64_t limit = 0;
  uint64_t taken = 0;
};

class [[nodiscard]] Reply {
 public:
  // Whose table the event fd is in: ours, or a dead worker's (then it is only a number).
  enum class Origin : uint8_t { kOwn, kInherited };

  Reply(GroupQueue& queue, JournalSlot* slot, int fd, Origin origin)
      : x_queue(&queue), x_slot(slot), x_fd(fd), x_origin(origin) {}
  Reply(Reply&& other) noexcept
      : x_queue(other.x_queue),
        x_slot(std::exchange(other.x_slot, nullptr)),
        x_fd(other.x_fd),
        x_origin(other.x_origin) {}
  Reply& operator=(Reply&&) = delete;
  ~Reply();  // denies with EIO when nothing was answered

  void allow();
  void deny(int number);  // errno; replaced by EIO where the kernel would not take it

  int fd() const { return x_fd; }
  void set_segment(uint32_t segment) { x_slot->segment.store(segment); }
  uint32_t segment() const { return x_slot->segment.load(); }

 private:
  void finish(uint32_t response);

  GroupQueue* x_queue;
  JournalSlot* x_slot;
  int x_fd;
  Origin x_origin;
};

class GroupQueue {
 public:
  struct Shared {
    Log& log;
    KeptLink& link;
    DoorCounters& counters;
    EventBudget& budget;
    std::function<void()> on_freed;  // a slot was given back
  };
  struct Taken {
    FanotifyEvent event;
    Reply reply;
  };
  enum class Status : uint8_t {
    kEvent,    // taken holds it
    kNothing,  // an event that needs no answer, or that the kernel has answered: go on
    kEmpty,    // no more events now
    kFull,     // no free slot, or the budget is used up
  };
  struct ReadOutcome {
    Status status;
    std::optional<Taken> taken;
  };

  GroupQueue(uint32_t index, Shared& shared);
  GroupQueue(const GroupQueue&) = delete;
  GroupQueue& operator=(const GroupQueue&) = delete;

  // One event, read straight into a free journal slot.
  ReadOutcome read_one();
  // Events that dead workers had read; each is handed out once.
  std::vector<Taken> take_old();

  uint32_t index() const { return x_index; }
  int fd() const { return x_fd; }
  bool can_read() const;

 private:
  friend class Reply;
  Status after_failed_read(int number);
  void answer(JournalSlot* slot, int fd, Reply::Origin origin, uint32_t response);
  bool write_response(int fd, uint32_t response);

  uint32_t x_index;
  int x_fd;
  Shared& x_shared;
  Journal x_journal;
};

}  // namespace dedup
