#include "keeper/last_answers.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>

#include "doors/fanotify_abi.h"
#include "doors/fanotify_event.h"

namespace dedup {
namespace {

constexpr int kRounds = 500;  // of kPause: five seconds
constexpr timespec kPause{0, 10'000'000};
constexpr size_t kMaxCountedSegments = 255;  // what an exit status can say

void answer_group(int group_fd, pid_t child) {
  std::array<std::byte, 512> buffer;
  ssize_t got = 0;
  while ((got = read(group_fd, buffer.data(), buffer.size())) > 0) {
    std::span<const std::byte> rest(buffer.data(), static_cast<size_t>(got));
    while (!rest.empty()) {
      const auto event = parse_event(rest);
      if (!event.ok()) return;
      rest = rest.subspan(event->event_bytes);
      if (event->fd < 0) continue;
      const fanotify_response answer{
          event->fd, event->pid == child ? static_cast<uint32_t>(FAN_ALLOW) : fanotify_deny(EIO)};
      // Fails only for an event that is gone already.
      [[maybe_unused]] const ssize_t put = write(group_fd, &answer, sizeof(answer));
      close(event->fd);
    }
  }
}

}  // namespace

size_t empty_segments_in_use(KeptSegments& segments, std::span<const int32_t> group_fds) {
  const pid_t child = fork();
  if (child == 0) {
    const size_t count = segments.truncate_all();
    _exit(static_cast<int>(count < kMaxCountedSegments ? count : kMaxCountedSegments));
  }
  if (child < 0) return 0;
  for (int round = 0; round < kRounds; ++round) {
    for (const int32_t group_fd : group_fds) {
      if (group_fd >= 0) answer_group(group_fd, child);
    }
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child) {
      return WIFEXITED(status) ? static_cast<size_t>(WEXITSTATUS(status)) : 0;
    }
    nanosleep(&kPause, nullptr);
  }
  kill(child, SIGKILL);
  return 0;
}

}  // namespace dedup
