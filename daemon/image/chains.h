// Chains: the mounts of this node: each distinct chain of layers is merged into one metadata image
// and mounted once, shared by every container. Keeps the order that fanotify demands: marks before
// the mount, a probe before anyone learns of it, marks removed only when the superblock is really
// gone. A chain whose last holder has gone stays mounted for a while: the next start of its image
// finds the mount, and in it the pages the last one read. Owned by main; loop thread.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "doors/door.h"
#include "doors/guard.h"
#include "image/metadata_image.h"
#include "image/store.h"
#include "io/sync.h"
#include "pool/pool.h"

namespace dedup {

struct ChainOptions {
  std::string directory;  // metadata/ID.erofs and mounts/ID lie below
  bool directio = false;
  std::chrono::milliseconds keep_idle{0};  // chains nobody holds stay mounted for so long
  size_t max_idle = 64;                    // and no more of them: a stop unmounts each
  // Told, where not empty, of mounts as they come, remount_held() of those that were found, and as
  // their superblocks go; and of the first holder that uses a mount, and of the last that has left.
  std::function<void(const ChainRecord& chain, const std::string& mountpoint)> on_mounted;
  std::function<void(const ChainRecord& chain)> on_unmounted;
  std::function<void(const ChainRecord& chain)> on_used;
  std::function<void(const ChainRecord& chain)> on_idle;
};

struct ChainStatus {
  ChainRecord record;
  std::string mountpoint;  // empty: not mounted any more, but a container still reads it
  bool complete = false;   // every segment is complete: no door needed
};

class Chains {
 public:
  // guard: of a door that fails open, where this kernel has one; may be null.
  Chains(Ring& ring, Workers& workers, Log& log, Pool& pool, ImageStore& store, Door& door,
         Guard* guard, ChainOptions options);

  static Digest id_of(const std::vector<Digest>& layers, bool keep_whiteouts);

  // Before door.start(): finds the superblocks that outlived an earlier worker and attaches their
  // segments again. fresh: nobody held the door meanwhile. Then what was mounted is unmounted, to
  // be mounted anew for those who hold it: mounts behind a door that fails closed are dead, those
  // behind one that fails open may have holes in their page cache, which is dropped. Containers
  // keep the old ones until they end; the guard, where there is one, kills them before they read
  // there.
  Result<void> recover(bool fresh);
  // After door.start(): mounts again what holders need and a reboot took away. Nobody starts by
  // that.
  Task<void> remount_held();

  enum class Purpose : uint8_t { kUse, kAhead };
  // The mount point of the chain, mounted and probed. Single flight per chain. The caller has made
  // a holder for it. kAhead: it is going to be used, perhaps.
  Task<Result<std::string>> mount(std::vector<Digest> layers, bool keep_whiteouts,
                                  Purpose purpose = Purpose::kUse);

  // Unmounts chains that nobody has held for keep_idle, or whose layers nobody wants any more, and
  // forgets those whose superblock is gone.
  Task<void> collect();

  // For a stop: unmounts what is idle; behind a door that fails open, what containers still read is
  // completed within `timeout`.
  Task<void> close(std::chrono::milliseconds timeout);
  // Last of all, when no fetch runs any more: cuts segments that are in use and incomplete at their
  // first missing piece, so that reads beyond give EIO, never zeros, once the groups are gone.
  // False when that was not possible: then only a guard helps.
  Task<bool> close_against_readers();

  void segment_complete(const std::shared_ptr<Segment>& segment);
  std::vector<ChainStatus> status() const;
  bool keeps_idle() const { return x_options.keep_idle.count() > 0; }
  size_t mounted() const { return x_live.size(); }

 private:
  struct Live {
    ChainRecord record;
    bool mounted = false;  // at its mount point; false: only a superblock that something still uses
    std::map<SegmentId, ProbeFile> probes = {};
    bool used = false;   // by a holder
    bool again = false;  // an older superblock of it may still be in use
    std::optional<std::chrono::steady_clock::time_point> idle_since = {};  // as collect() found
  };
  using Pending = OneShot<Result<std::string>>;

  std::string image_path(const Digest& chain) const;
  std::string mountpoint(const Digest& chain) const;
  Task<Result<std::string>> mount_shared(Digest id, std::vector<Digest> layers,
                                         bool keep_whiteouts);
  Task<Result<std::string>> mount_once(ChainRecord record);
  bool stays_idle(const UnheldChain& chain);
  Task<Result<void>> build(ChainRecord& record, std::map<SegmentId, ProbeFile>& probes);
  Task<Result<void>> attach_and_mount(const ChainRecord& record);
  Task<Result<void>> mount_image(const ChainRecord& record);
  Task<Result<void>> probe(Digest chain);
  Task<void> unmount_chain(Digest chain);
  Task<void> end_chain(Digest chain);
  Result<void> not_lost(SegmentId segment) const;
  Result<void> attach(SegmentId segment);
  void forget_old_mount(const std::string& target, bool held);
  bool complete(const ChainRecord& record) const;
  void arm_guard(const ChainRecord& record);
  void detach_unused(const std::vector<uint32_t>& segments);
  bool segment_in_use(SegmentId segment) const;
  Task<void> complete_in_use(std::chrono::milliseconds timeout);

  Ring& x_ring;
  Workers& x_workers;
  Log& x_log;
  Pool& x_pool;
  ImageStore& x_store;
  Door& x_door;
  Guard* x_guard;
  ChainOptions x_options;
  std::map<Digest, Live> x_live;  // chains with a superblock
  // Attached for a superblock that is being made: another chain's end must not detach them.
  std::map<Digest, std::vector<SegmentId>> x_mounting;
  std::map<Digest, std::shared_ptr<Pending>> x_pending;
  std::set<SegmentId> x_attached;
};

}  // namespace dedup
