#include "doors/journal.h"

#include <atomic>
#include <cstring>

namespace dedup {
namespace {

// A kill stops the process between two instructions. These fences hold the compiler to the order
// that the next worker relies on: a slot with event_len 0 is free, whatever else is in it.
void clear(JournalSlot& slot) {
  constexpr uint32_t none = 0;
  std::memcpy(slot.event.data(), &none, sizeof(none));
  std::atomic_signal_fence(std::memory_order_seq_cst);
  slot.segment.store(0, std::memory_order_relaxed);
  slot.event.fill(std::byte{0});
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

}  // namespace

Journal::Journal(std::span<JournalSlot> slots) {
  x_free.reserve(slots.size());
  for (size_t i = slots.size(); i > 0; --i) {
    if (!in_use(slots[i - 1])) x_free.push_back(&slots[i - 1]);
  }
}

JournalSlot* Journal::take() {
  if (x_free.empty()) return nullptr;
  JournalSlot* slot = x_free.back();
  x_free.pop_back();
  clear(*slot);  // a worker may have died while it gave the slot back
  return slot;
}

void Journal::give_back(JournalSlot* slot) {
  clear(*slot);
  x_free.push_back(slot);
}

bool Journal::in_use(const JournalSlot& slot) {
  uint32_t event_bytes = 0;
  std::memcpy(&event_bytes, slot.event.data(), sizeof(event_bytes));
  return event_bytes != 0;
}

}  // namespace dedup
