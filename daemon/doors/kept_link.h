// KeptLink: the worker's end of the keeper: group fds, the shared journal, and segment fds the
// keeper holds for the next worker. Made from the environment the keeper starts the worker with, or
// standalone (tests, no keeper): then the groups and the memfd belong to this process. Owned by
// main; one thread at a time, the loop thread once it runs. Outlives the door.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "doors/kept_state.h"

namespace dedup {

class KeptLink {
 public:
  static constexpr const char* kEnvironment = "DEDUP_KEEPER";  // "state=FD,control=FD,lock=FD"

  // Must be the first thing a worker does: it occupies the fd numbers of events that dead workers
  // had read, before anything else opens (and later closes) an fd with such a number.
  //   errors  kNotFound when not started by a keeper.
  static Result<std::unique_ptr<KeptLink>> from_environment();
  // Makes groups itself; without fanotify they are -1.
  static Result<std::unique_ptr<KeptLink>> standalone();
  virtual ~KeptLink() = default;

  virtual KeptHeader& header() = 0;
  virtual std::span<JournalSlot> journal(uint32_t group) = 0;  // kSlotsPerGroup slots
  virtual std::span<FuseSlot> fuse_journal() = 0;              // kFuseSlots slots

  // Hands the keeper a dup of `fd` for `segment` (or under the key of a device, kept_state.h);
  // returns once it is safe with the keeper. Of a segment, call before the first mark.
  virtual Result<void> keep(uint32_t segment, int fd) = 0;
  virtual Result<void> drop(uint32_t segment) = 0;
  struct Kept {
    uint32_t segment;
    int fd;  // owned by the link; raises no events; readable and writable
  };
  // Segments only.
  virtual std::vector<Kept> kept() const = 0;
  // The device fd that an earlier worker gave to keep() under `key`, or -1. Owned by the link.
  virtual int kept_device(uint32_t key) const = 0;

  // The event a dead worker had read as fd `number` is answered.
  virtual void release_number(int number) = 0;

  virtual bool has_keeper() const = 0;
  // Becomes readable with POLLHUP when the keeper is dead: then nothing outlives this worker. -1
  // without a keeper. Borrowed, only for polling.
  virtual int keeper_fd() const = 0;
};

}  // namespace dedup
