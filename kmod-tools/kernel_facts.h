// What this kernel offers beside the doors, each fact found out by trying it. Blocking; one thread.
#pragma once

#include <string>
#include <vector>

namespace dedup {

enum class Offered : uint8_t { kYes, kNo, kUnknown };

struct KernelFact {
  std::string name;  // [a-z_]: a key of the JSON output
  Offered offered = Offered::kUnknown;
  std::string detail;  // what was seen
  std::string advice;  // how to get it; empty when it is there or cannot be changed
};

// FUSE_INIT of a connection of our own: passthrough, resend, over io_uring.
std::vector<KernelFact> fuse_facts();
// A tracing program of the kind we use is loaded and attached for a moment.
KernelFact tp_btf_fact();
// What the recorder of accesses (daemon/trace) can see here: it is opened for a moment.
KernelFact access_fact();
std::vector<KernelFact> ksm_facts();
KernelFact cgroup_fact();
// Whether files of `directory` can share blocks (FICLONE).
KernelFact reflink_fact(const std::string& directory);
// inode_share: page cache shared between images (7.0+).
KernelFact inode_share_fact();

}  // namespace dedup
