#include "doors/old_numbers.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "doors/fanotify_event.h"
#include "doors/journal.h"

namespace dedup {

Result<OldNumbers> OldNumbers::open() {
  OldNumbers numbers;
  // High, so that it does not itself sit on an old number.
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const int high = static_cast<int>(std::min<rlim_t>(512, limit.rlim_cur / 2));
  const UniqueFd low(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!low.valid()) return errno_error(errno, "/dev/null");
  numbers.x_placeholder = UniqueFd(fcntl(low.get(), F_DUPFD_CLOEXEC, high));
  if (!numbers.x_placeholder.valid()) return errno_error(errno, "placeholder fd");
  return numbers;
}

void OldNumbers::occupy(std::span<const JournalSlot> slots) {
  for (const JournalSlot& slot : slots) {
    if (!Journal::in_use(slot)) continue;
    const auto event = parse_event(slot.event);
    if (!event.ok() || event->fd < 0) continue;
    x_pending.insert(event->fd);
    if (event->fd == x_placeholder.get()) continue;
    if (fcntl(event->fd, F_GETFD) < 0) put_placeholder(event->fd);
  }
}

void OldNumbers::put_placeholder(int number) {
  // Fails only for a number above RLIMIT_NOFILE, which the kernel cannot hand out either.
  if (dup3(x_placeholder.get(), number, O_CLOEXEC) == number) x_placeholders.insert(number);
}

void OldNumbers::release(int number) {
  x_pending.erase(number);
  if (x_placeholders.erase(number) != 0) ::close(number);
}

void OldNumbers::retire(int fd) {
  if (x_pending.contains(fd)) return put_placeholder(fd);
  ::close(fd);
}

}  // namespace dedup
