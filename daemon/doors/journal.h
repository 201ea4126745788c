// Journal: which slots of one group's journal are free. A slot is taken before read(2), is the
// buffer of that read, and is given back after the answer; a slot whose event_len is not zero when
// the journal is made is an event of a dead worker and counts as taken. Loop thread.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "doors/kept_state.h"

namespace dedup {

class Journal {
 public:
  // slots: borrowed from the KeptLink.
  explicit Journal(std::span<JournalSlot> slots);

  JournalSlot* take();                // zeroed; null when none is free
  void give_back(JournalSlot* slot);  // zeroes it, event_len first
  size_t free_slots() const { return x_free.size(); }

  static bool in_use(const JournalSlot& slot);

 private:
  std::vector<JournalSlot*> x_free;
};

}  // namespace dedup
