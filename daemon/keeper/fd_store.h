// FdStore: the third holder: systemd's store of the keeper's fds, for the case that keeper, witness
// and worker die together. StoredFds gets them back. After construction it allocates nothing. The
// keeper's only thread.
#pragma once

#include <cstdint>

#include "base/systemd.h"
#include "doors/kept_mapping.h"

namespace dedup {

class FdStore {
 public:
  explicit FdStore(Systemd manager) : x_manager(std::move(manager)) {}

  // Everything the state names; what is stored already is not stored twice. False when something
  // was refused. True without a manager.
  bool add_all(const KeptMapping& state) const;
  bool add_segment(uint32_t segment, int fd) const;
  bool remove_segment(uint32_t segment) const;
  // For an orderly end: nothing of this life is needed any more.
  void remove_all(const KeptMapping& state) const;

 private:
  Systemd x_manager;
};

}  // namespace dedup
