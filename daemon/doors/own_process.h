// in_own_process: for system calls that may wait, where no signal reaches them, for an answer that
// this very daemon has to give: mounting through a door, and unmounting while the reads of a killed
// reader are on their way. A thread that waits so would keep a killed worker from ending, the
// keeper from starting the next one, and thereby the answer from coming. Any thread but the loop's.
#pragma once

#include <functional>
#include <vector>

#include "base/result.h"

namespace dedup {

// Runs `action` in a child process and waits for it. The child ends with the calling thread.
//   fds     of this process that the action needs; all others but 0 to 2 are closed there, so that
//           it holds no connection to the kernel open
//   action  makes system calls and an Error; it must not need other threads, nor their locks
Result<void> in_own_process(std::vector<int> fds, const std::function<Result<void>()>& action);

}  // namespace dedup
