// KeptSegments: the segment fds in the keeper's table, entered in the shared state for the next
// worker, and the requests of workers that change them. Allocates nothing. The keeper's only
// thread.
#pragma once

#include <span>

#include "base/unique_fd.h"
#include "doors/kept_protocol.h"
#include "doors/kept_state.h"
#include "keeper/fd_store.h"

namespace dedup {

class KeptSegments {
 public:
  // All borrowed.
  KeptSegments(std::span<KeptSegment> entries, int control_socket, const FdStore& store)
      : x_entries(entries), x_control(control_socket), x_store(store) {}

  // Serves every request that waits on the control socket.
  void serve();

  // Makes every kept segment empty: readers that come when the groups are gone get EIO, not zeros.
  // Returns how many there were.
  size_t truncate_all();

 private:
  bool serve_one();
  int keep(uint32_t segment, UniqueFd fd);  // errno
  int drop(uint32_t segment);
  KeptSegment* find(uint32_t segment);

  std::span<KeptSegment> x_entries;
  int x_control;
  const FdStore& x_store;
};

}  // namespace dedup
