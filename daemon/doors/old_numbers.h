// OldNumbers: the fd numbers under which dead workers read events that are not answered yet. The
// kernel knows an event by this number alone and answers the oldest event that has it, so while
// one is pending the number must not be handed out again in this process: a second event with it
// would have its answer go to the first, whose data may be absent. Loop thread.
#pragma once

#include <set>
#include <span>

#include "base/result.h"
#include "base/unique_fd.h"
#include "doors/kept_state.h"

namespace dedup {

class OldNumbers {
 public:
  OldNumbers() = default;
  static Result<OldNumbers> open();

  // Occupies the number of every event in `slots`: a free one gets a placeholder fd; one that is
  // open already is an inherited fd, kept open by its owner until retire().
  void occupy(std::span<const JournalSlot> slots);

  // The event is answered: its number may be used again.
  void release(int number);
  // Closes an inherited fd, but keeps its number occupied when it is an old one.
  void retire(int fd);

  size_t size() const { return x_pending.size(); }

 private:
  void put_placeholder(int number);

  UniqueFd x_placeholder;        // /dev/null
  std::set<int> x_pending;       // numbers of unanswered old events
  std::set<int> x_placeholders;  // those of them that we opened
};

}  // namespace dedup
