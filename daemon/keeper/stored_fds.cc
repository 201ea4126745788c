#include "keeper/stored_fds.h"

#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "keeper/placed_fds.h"

namespace dedup {
namespace {

constexpr int kFirst = 3;  // SD_LISTEN_FDS_START

int number_in(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : std::atoi(text);
}

std::string next_name(std::string_view& names) {
  const size_t colon = std::min(names.find(':'), names.size());
  std::string name(names.substr(0, colon));
  names.remove_prefix(std::min(colon + 1, names.size()));
  return name;
}

}  // namespace

Result<StoredFds> StoredFds::from_environment() {
  StoredFds stored;
  const int count = number_in("LISTEN_PID") == getpid() ? number_in("LISTEN_FDS") : 0;
  const char* text = std::getenv("LISTEN_FDNAMES");
  std::string_view names = text == nullptr ? "" : text;
  for (int number = kFirst; number < kFirst + count; ++number) {
    UniqueFd fd(number);
    TRY(high, moved_high(std::move(fd)));
    stored.x_fds.insert_or_assign(next_name(names), std::move(high));
  }
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) unsetenv(name);
  return stored;
}

Result<std::optional<KeptMapping>> StoredFds::take(Log& log) {
  const auto found = x_fds.find(kState);
  if (found == x_fds.end()) return std::optional<KeptMapping>();
  TRY(state, KeptMapping::attach(std::move(found->second)));
  PlacedFds placed;
  const auto& numbers = state.header().group_fd;
  for (uint32_t i = 0; i < kGroupCount; ++i) {
    if (numbers[i] < 0) continue;
    const auto group = x_fds.find(kGroup + std::to_string(i));
    if (group == x_fds.end()) {
      log.error("the service manager has not kept every group: readers may have seen holes",
                {{"missing", i}});
      return std::optional<KeptMapping>();
    }
    TRY(placed.add(numbers[i], std::move(group->second)));
  }
  for (KeptSegment& entry : state.segments()) {
    const uint32_t segment = entry.segment.load();
    if (segment == 0) continue;
    const auto fd = x_fds.find(kSegment + std::to_string(segment));
    if (fd == x_fds.end()) {
      log.error("the service manager has not kept a segment", {{"segment", segment}});
      entry.segment.store(0);
      continue;
    }
    TRY(placed.add(entry.fd.load(), std::move(fd->second)));
  }
  x_fds.clear();
  TRY(placed.place());
  log.warn("keeper, witness and worker died; going on with what the service manager kept");
  return std::optional<KeptMapping>(std::move(state));
}

}  // namespace dedup
