#include "doors/process_id.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/unique_fd.h"

namespace dedup {
namespace {

constexpr int kStateField = 3;
constexpr int kStartField = 22;

}  // namespace

uint64_t start_ticks_of(pid_t pid) {
  char path[32];
  std::snprintf(path, sizeof(path), "/proc/%d/stat", pid);
  const UniqueFd fd(open(path, O_RDONLY | O_CLOEXEC));
  char text[1024];
  const ssize_t length = fd.valid() ? read(fd.get(), text, sizeof(text) - 1) : -1;
  if (length <= 0) return 0;
  text[length] = '\0';
  // Fields are separated by spaces, but the second is a name in parentheses that may hold any.
  const char* at = std::strrchr(text, ')');
  for (int field = kStateField; at != nullptr && field <= kStartField; ++field) {
    at = std::strchr(at, ' ');
    if (at == nullptr) return 0;
    ++at;
    if (field == kStateField && (*at == 'Z' || *at == 'X')) return 0;
  }
  return at == nullptr ? 0 : std::strtoull(at, nullptr, 10);
}

void record(KeptProcess& entry, pid_t pid) {
  entry.pid.store(0);
  entry.start_ticks.store(start_ticks_of(pid));
  entry.pid.store(pid);
}

bool alive(const KeptProcess& entry) {
  const pid_t pid = entry.pid.load();
  return pid > 0 && entry.start_ticks.load() != 0 &&
         start_ticks_of(pid) == entry.start_ticks.load();
}

unsigned live_holders(const KeptHeader& header) {
  return unsigned{alive(header.keeper)} + unsigned{alive(header.witness)} +
         unsigned{alive(header.worker)};
}

}  // namespace dedup
