// FuseQueue: /dev/fuse with its journal: takes requests out of the kernel and answers them.
// FuseReply: the duty to answer one request; whatever way it ends, the kernel gets an answer. Loop
// thread, but for write_answer(); the queue outlives its replies.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/log.h"
#include "doors/door.h"
#include "doors/fuse_protocol.h"
#include "doors/journal.h"

namespace dedup {

class FuseQueue;

class [[nodiscard]] FuseReply {
 public:
  // Whether this worker has read the request or a dead one.
  enum class Origin : uint8_t { kOwn, kInherited };

  FuseReply(FuseQueue& queue, FuseSlot* slot, const FuseRequest& request, Origin origin)
      : x_queue(&queue),
        x_slot(slot),
        x_unique(request.unique),
        x_opcode(request.opcode),
        x_origin(origin) {}
  FuseReply(FuseReply&& other) noexcept
      : x_queue(other.x_queue),
        x_slot(std::exchange(other.x_slot, nullptr)),
        x_unique(other.x_unique),
        x_opcode(other.x_opcode),
        x_origin(other.x_origin) {}
  FuseReply& operator=(FuseReply&&) = delete;
  ~FuseReply();  // EIO when nothing was answered

  void send(std::span<const std::byte> payload);
  template <typename T>
  void send_struct(const T& payload) {
    send(std::as_bytes(std::span(&payload, 1)));
  }
  void fail(int number);  // errno
  void drop();            // the kernel wants no answer

  // Another thread has written the answer, with FuseQueue::write_answer(unique()).
  uint64_t unique() const { return x_unique; }
  void was_sent(int outcome) { finish(0, outcome); }

 private:
  void finish(int number, int outcome);

  FuseQueue* x_queue;
  FuseSlot* x_slot;
  uint64_t x_unique;
  uint32_t x_opcode;
  Origin x_origin;
};

class FuseQueue {
 public:
  struct Taken {
    FuseRequest request;  // its arguments lie in the slot: valid until the reply has ended
    FuseReply reply;
  };
  enum class Status : uint8_t {
    kRequest,  // taken holds it
    kNothing,  // nothing came of it: go on
    kEmpty,    // no more requests now
    kFull,     // no free slot
    kGone,     // the connection has ended: there will be none
  };
  struct ReadOutcome {
    Status status;
    std::optional<Taken> taken;
  };

  // device: non-blocking; all borrowed. on_freed: a slot was given back.
  FuseQueue(int device, std::span<FuseSlot> slots, Log& log, DoorCounters& counters,
            std::function<void()> on_freed);
  FuseQueue(const FuseQueue&) = delete;
  FuseQueue& operator=(const FuseQueue&) = delete;

  // One request, read straight into a free slot.
  ReadOutcome read_one();
  // Requests that dead workers had read; each is handed out once.
  std::vector<Taken> take_old();
  // Where a request lies that this worker or a dead one has taken, until it is answered and given
  // back. Null: nowhere.
  const FuseSlot* slot_of(uint64_t unique) const;
  static bool holds(const FuseSlot& slot, uint64_t unique);

  // Any thread. 0, or an errno: ENOENT when the kernel knows no such request, because it was
  // answered before or its reader is gone.
  int write_answer(uint64_t unique, int number, std::span<const std::byte> payload) const;

 private:
  friend class FuseReply;
  ReadOutcome after_failed_read(int number);

  int x_device;
  std::span<FuseSlot> x_slots;
  Log& x_log;
  DoorCounters& x_counters;
  std::function<void()> x_on_freed;
  FuseJournal x_journal;
  std::array<std::byte, kFuseMinBufferBytes> x_rest;  // of a request longer than a slot
};

}  // namespace dedup
