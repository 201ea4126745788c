// Messages on the control socket (SOCK_SEQPACKET) between worker and keeper. The socket outlives
// workers, so an answer may be for a dead one: `id` tells.
#pragma once

#include <cstdint>

namespace dedup {

enum class KeptAction : uint32_t { kKeep = 1, kDrop = 2 };

struct KeptRequest {
  uint64_t id = 0;  // worker_starts << 32 | count
  KeptAction action = KeptAction::kKeep;
  uint32_t segment = 0;  // kKeep carries one fd (SCM_RIGHTS)
};

struct KeptAnswer {
  uint64_t id = 0;
  int32_t error = 0;  // errno, 0 = done
  uint32_t reserved = 0;
};

}  // namespace dedup
