#include "keeper/placed_fds.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>

#include "doors/kept_state.h"

namespace dedup {
namespace {

// A keeper has few fds besides the kept ones, and the kernel hands out the lowest free number.
constexpr int kFirstHigh = 2 * kMaxKeptSegments;
constexpr rlim_t kWantedOpenFiles = 2 * kFirstHigh;

void raise_open_files() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= kWantedOpenFiles) return;
  const rlimit wanted{kWantedOpenFiles, std::max(limit.rlim_max, kWantedOpenFiles)};
  setrlimit(RLIMIT_NOFILE, &wanted);
}

}  // namespace

Result<UniqueFd> moved_high(UniqueFd fd) {
  raise_open_files();
  UniqueFd high(fcntl(fd.get(), F_DUPFD_CLOEXEC, kFirstHigh));
  if (!high.valid()) return errno_error(errno, "fd number above " + std::to_string(kFirstHigh));
  return high;
}

Result<void> PlacedFds::add(int number, UniqueFd fd) {
  if (number < 0 || number >= kFirstHigh) {
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
