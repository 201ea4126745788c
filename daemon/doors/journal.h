// SlotJournal: which slots of a kept journal are free. A slot is taken before read(2), is the
// buffer of that read, and is given back after the answer. Every message of the kernels' doors
// begins with its length in 4 bytes: a slot where they are not zero when the journal is made is a
// request of a dead worker and counts as taken. Loop thread.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "doors/kept_state.h"

namespace dedup {

template <typename Slot>
class SlotJournal {
 public:
  // slots: borrowed from the KeptLink.
  explicit SlotJournal(std::span<Slot> slots);

  Slot* take();                // zeroed; null when none is free
  void give_back(Slot* slot);  // zeroes it, length first
  size_t free_slots() const { return x_free.size(); }

  static bool in_use(const Slot& slot);

 private:
  std::vector<Slot*> x_free;
};

using Journal = SlotJournal<JournalSlot>;
using FuseJournal = SlotJournal<FuseSlot>;

}  // namespace dedup
