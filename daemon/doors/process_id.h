// Which process is meant by a pid that was written down: pid and start time together name one for
// ever. Allocates nothing; any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "doors/kept_state.h"

namespace dedup {

// Start time of `pid` in clock ticks since boot; 0 when there is no such process or it is dead and
// only waits to be reaped.
uint64_t start_ticks_of(pid_t pid);

void record(KeptProcess& entry, pid_t pid);
bool alive(const KeptProcess& entry);

// Processes of ours that hold the groups: keeper, witness, worker. With fewer than two the next
// death gives readers of incomplete images holes.
unsigned live_holders(const KeptHeader& header);

}  // namespace dedup
