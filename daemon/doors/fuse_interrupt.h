// FUSE_INTERRUPT: a reader that waits in FUSE itself got a signal. On Linux 6.12 all readers wait
// there; on 6.18 they wait for their page of EROFS, and a kill ends that. In FUSE a killed reader
// waits on for its answer, and the message does not say whether the signal kills: a read that ended
// early for a timer's signal would be an error to its program. So the door looks. Loop thread.
#pragma once

#include "doors/fuse_queue.h"
#include "io/ring.h"
#include "io/task.h"

namespace dedup {

// Answers the request that `interrupt` is about as soon as the thread that waits for it was killed;
// ends without it once that request has its answer. The message keeps its slot of the journal: the
// next worker goes on looking.
Task<void> answer_when_killed(Ring& ring, FuseQueue& queue, FuseReply interrupt, uint64_t unique);

}  // namespace dedup
