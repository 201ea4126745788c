#include "doors/journal.h"

#include <atomic>
#include <cstring>

namespace dedup {
namespace {

// A kill stops the process between two instructions. These fences hold the compiler to the order
// that the next worker relies on: a slot with length 0 is free, whatever else is in it.
template <typename Slot>
void clear(Slot& slot) {
  constexpr uint32_t none = 0;
  std::memcpy(static_cast<void*>(&slot), &none, sizeof(none));
  std::atomic_signal_fence(std::memory_order_seq_cst);
  std::memset(static_cast<void*>(&slot), 0, sizeof(slot));
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

}  // namespace

template <typename Slot>
SlotJournal<Slot>::SlotJournal(std::span<Slot> slots) {
  x_free.reserve(slots.size());
  for (size_t i = slots.size(); i > 0; --i) {
    if (!in_use(slots[i - 1])) x_free.push_back(&slots[i - 1]);
  }
}

template <typename Slot>
Slot* SlotJournal<Slot>::take() {
  if (x_free.empty()) return nullptr;
  Slot* slot = x_free.back();
  x_free.pop_back();
  clear(*slot);  // a worker may have died while it gave the slot back
  return slot;
}

template <typename Slot>
void SlotJournal<Slot>::give_back(Slot* slot) {
  clear(*slot);
  x_free.push_back(slot);
}

template <typename Slot>
bool SlotJournal<Slot>::in_use(const Slot& slot) {
  uint32_t length = 0;
  std::memcpy(&length, static_cast<const void*>(&slot), sizeof(length));
  return length != 0;
}

template class SlotJournal<JournalSlot>;
template class SlotJournal<FuseSlot>;

}  // namespace dedup
