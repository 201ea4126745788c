#include "keeper/placed_fds.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>

#include "doors/kept_state.h"

namespace dedup {
namespace {

// A keeper has few fds besides the kept ones, and the kernel hands out the lowest free number.
constexpr rlim_t kWantedFirstHigh = 2 * kMaxKeptSegments;

// Half of what the limit on open files allows, after an attempt to raise it.
int first_high() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 512;
  if (limit.rlim_cur < 2 * kWantedFirstHigh) {
    const rlimit wanted{2 * kWantedFirstHigh, std::max(limit.rlim_max, 2 * kWantedFirstHigh)};
    const rlimit possible{std::min(limit.rlim_max, 2 * kWantedFirstHigh), limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &wanted) == 0 || setrlimit(RLIMIT_NOFILE, &possible) == 0) {
      getrlimit(RLIMIT_NOFILE, &limit);
    }
  }
  return static_cast<int>(std::min(kWantedFirstHigh, limit.rlim_cur / 2));
}

}  // namespace

Result<UniqueFd> moved_high(UniqueFd fd) {
  const int first = first_high();
  UniqueFd high(fcntl(fd.get(), F_DUPFD_CLOEXEC, first));
  if (!high.valid()) return errno_error(errno, "fd number above " + std::to_string(first));
  return high;
}

Result<void> PlacedFds::add(int number, UniqueFd fd) {
  if (number < 0 || number >= first_high()) {
    return make_error(Errc::kInvalid, "kept fd number " + std::to_string(number));
  }
  TRY(high, moved_high(std::move(fd)));
  x_wanted.push_back({number, std::move(high)});
  return {};
}

Result<void> PlacedFds::place() {
  for (const Wanted& wanted : x_wanted) {
    if (dup3(wanted.fd.get(), wanted.number, O_CLOEXEC) < 0) {
      return errno_error(errno, "fd number " + std::to_string(wanted.number));
    }
  }
  x_wanted.clear();
  return {};
}

}  // namespace dedup
