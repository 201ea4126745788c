// Fds that must have the numbers a dead keeper's state names: workers find what they inherit by
// number, so a keeper that takes over uses the same ones and changes nothing in the state. The
// keeper's start, one thread.
#pragma once

#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace dedup {

// `fd` under a number no state names.
Result<UniqueFd> moved_high(UniqueFd fd);

class PlacedFds {
 public:
  Result<void> add(int number, UniqueFd fd);
  // All of them, close-on-exec, under their numbers, where they stay until this process ends or the
  // state's owner closes them. Whatever has these numbers now is closed.
  Result<void> place();

 private:
  struct Wanted {
    int number;
    UniqueFd fd;
  };
  std::vector<Wanted> x_wanted;
};

}  // namespace dedup
