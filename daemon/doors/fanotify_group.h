// Makes fanotify groups the way the fanotify door needs them. Any thread.
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"

namespace dedup {

// A group for pre-access events: unlimited queue (an overflowing queue ALLOWS what it drops),
// close-on-exec, nonblocking.
//   errors  kUnsupported naming the missing feature; kDenied without CAP_SYS_ADMIN.
Result<UniqueFd> make_fanotify_group();

// Adds or removes the pre-access mark of the file behind `fd`.
Result<void> add_pre_access_mark(int group_fd, int fd);
Result<void> remove_pre_access_mark(int group_fd, int fd);

}  // namespace dedup
