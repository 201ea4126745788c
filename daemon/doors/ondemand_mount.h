// Mounts of EROFS images that are cookies of cachefiles. Blocking; workers call it.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace dedup {

struct OndemandMount {
  std::string fsid;    // cookie of the metadata image; no other mount of the domain may have it
  std::string domain;  // cookies of the same name in one domain are one file and one page cache
  std::vector<std::string> devices;  // cookies in device-slot order
  std::string mountpoint;
};

// Ends when the kernel's OPENs have been answered. It does so in a process of its own: the wait for
// an OPEN ends for no signal, and a killed worker with a thread in it would never be gone, so that
// no other one could come and answer.
//   errors  kExists: the fsid is in use; kUnsupported: this kernel cannot
Result<void> mount_ondemand(const OndemandMount& mount);

}  // namespace dedup
