#include "doors/fuse_interrupt.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

namespace dedup {
namespace {

// The kernel tells of the first signal only; a kill after it is found by looking again.
constexpr std::chrono::milliseconds kLookAgain{50};

// Whatever signal kills a process, the kernel marks each of its threads with a SIGKILL of its own:
// "SigPnd:\t0000000000000100" in /proc/THREAD/status.
bool is_killed(uint32_t thread) {
  constexpr std::string_view kPending = "SigPnd:";
  std::ifstream status("/proc/" + std::to_string(thread) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with(kPending)) continue;
    const uint64_t signals = std::strtoull(line.c_str() + kPending.size(), nullptr, 16);
    return (signals >> (SIGKILL - 1) & 1) != 0;
  }
  return false;
}

}  // namespace

Task<void> answer_when_killed(Ring& ring, FuseQueue& queue, FuseReply interrupt, uint64_t unique) {
  const FuseSlot* slot = queue.slot_of(unique);
  while (slot != nullptr && FuseQueue::holds(*slot, unique)) {
    const auto request = parse_fuse_request(slot->request);
    if (request.ok() && is_killed(request->pid)) {
      (void)queue.write_answer(unique, EINTR, {});
      break;
    }
    co_await ring.sleep(kLookAgain);
  }
  interrupt.drop();
}

}  // namespace dedup
