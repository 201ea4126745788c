// Guard: makes the fanotify door fail closed. While any process of ours holds the groups it does
// nothing; when the last one dies, readers of guarded mounts are killed before they see a hole
// (bpf/guard.bpf.c).
//
// One GuardLife per life of the groups (KeptHeader::life). After a total loss a new life begins:
// its mounts work at once, while the guard of the last life stays and kills the readers of the
// mounts it knows, whose page cache may hold holes, until their superblocks are gone. So nothing is
// ever taken back from "dead", and no reader of an old mount is let through by a new one.
//
// What it does not cover: a kernel thread that reads (loop device, nfsd) and process 1 cannot be
// killed. Readers that the groups of a service manager's fd store would have kept waiting are
// killed, too. Owned by main; loop thread.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/log.h"
#include "doors/guard_life.h"
#include "doors/kept_state.h"

namespace dedup {

class Guard {
 public:
  // directory: guard_directory(root), in bpffs, which is mounted when it is not. header: of the
  // groups; outlives the guard. Takes up the guard of an earlier worker.
  //   errors  kUnsupported: BTF, tracepoints or bpffs are missing, or this is not the first pid
  //           namespace; kDenied: BPF is forbidden
  static Result<std::unique_ptr<Guard>> open(std::string directory, const KeptHeader& header,
                                             Log& log);

  // The mount has incomplete segments. After the mount, before anybody reads it.
  Result<void> arm(const std::string& mountpoint);
  // Every segment of the image is complete: its superblocks of this life need no guard.
  void disarm(const ImageUuid& image);
  // No superblock of the image exists any more, of any life.
  void forget(const ImageUuid& image);
  // For a new worker: disarms what the last one may not have come to.
  void keep_only(const std::set<ImageUuid>& images);

  // Enters holders that were started since. Call from time to time.
  void refresh();

  // For an orderly stop: readers get EIO of what is missing.
  void remove();

  struct Status {
    size_t armed = 0;     // superblocks of this life
    size_t lost = 0;      // superblocks of earlier lives, closed for ever
    uint64_t killed = 0;  // signals sent in this life
  };
  Status status() const;

 private:
  Guard(GuardLife life, std::vector<GuardLife> lost, const KeptHeader& header, Log& log)
      : x_life(std::move(life)), x_lost(std::move(lost)), x_header(header), x_log(log) {}
  void enter(const KeptProcess& process);
  void drop_empty_lives();

  GuardLife x_life;
  std::vector<GuardLife> x_lost;
  const KeptHeader& x_header;
  Log& x_log;
};

}  // namespace dedup
