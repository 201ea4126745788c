#include "keeper/fd_store.h"

#include <array>
#include <cstdio>

#include "keeper/stored_fds.h"

namespace dedup {
namespace {

using Name = std::array<char, 32>;

Name numbered(const char* prefix, uint32_t number) {
  Name name;
  std::snprintf(name.data(), name.size(), "%s%u", prefix, number);
  return name;
}

}  // namespace

bool FdStore::add_all(const KeptMapping& state) const {
  if (!x_manager.present()) return true;
  bool good = x_manager.store(StoredFds::kState, state.fd());
  const auto& groups = state.header().group_fd;
  for (uint32_t i = 0; i < kGroupCount; ++i) {
    if (groups[i] < 0) continue;
    good = x_manager.store(numbered(StoredFds::kGroup, i).data(), groups[i]) && good;
  }
  for (const KeptSegment& entry : state.segments()) {
    const uint32_t segment = entry.segment.load();
    if (segment != 0) good = add_segment(segment, entry.fd.load()) && good;
  }
  return good;
}

bool FdStore::add_segment(uint32_t segment, int fd) const {
  return !x_manager.present() || x_manager.store(numbered(StoredFds::kSegment, segment).data(), fd);
}

bool FdStore::remove_segment(uint32_t segment) const {
  return !x_manager.present() || x_manager.forget(numbered(StoredFds::kSegment, segment).data());
}

void FdStore::remove_all(const KeptMapping& state) const {
  if (!x_manager.present()) return;
  x_manager.forget(StoredFds::kState);
  for (uint32_t i = 0; i < kGroupCount; ++i) {
    x_manager.forget(numbered(StoredFds::kGroup, i).data());
  }
  for (const KeptSegment& entry : state.segments()) {
    if (const uint32_t segment = entry.segment.load(); segment != 0) remove_segment(segment);
  }
}

}  // namespace dedup
