#include "doors/kept_mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <cassert>
#include <cerrno>
#include <memory>

#include "base/bytes.h"

namespace dedup {
namespace {

constexpr uint64_t kMagic = 0x5450454b50444544;  // "DEDPKEPT"
constexpr uint32_t kVersion = 3;

constexpr size_t kSegmentsOffset = round_up(sizeof(KeptHeader), alignof(JournalSlot));
constexpr size_t kJournalOffset =
    round_up(kSegmentsOffset + sizeof(KeptSegment) * kMaxKeptSegments, alignof(JournalSlot));
constexpr size_t kFuseOffset = kJournalOffset + sizeof(JournalSlot) * kSlotsPerGroup * kGroupCount;
constexpr size_t kStateBytes = kFuseOffset + sizeof(FuseSlot) * kFuseSlots;
static_assert(kFuseOffset % alignof(FuseSlot) == 0);

}  // namespace

Result<KeptMapping> KeptMapping::create() {
  UniqueFd fd(memfd_create(kName, MFD_CLOEXEC));
  if (!fd.valid()) return errno_error(errno, "memfd_create");
  // A memfd gives up, and undoes all, for whatever is pending for this thread.
  int status = EINTR;
  while (status == EINTR) status = posix_fallocate(fd.get(), 0, kStateBytes);
  if (status != 0) return errno_error(status, "allocate the kept state");
  TRY(mapping, map(std::move(fd)));
  auto* header = std::construct_at(&mapping.header());
  header->version = kVersion;
  header->group_count = kGroupCount;
  while (header->life == 0) {
    if (getrandom(&header->life, sizeof(header->life), 0) < 0)
      return errno_error(errno, "getrandom");
  }
  for (int32_t& group : header->group_fd) group = -1;
  for (KeptSegment& entry : mapping.segments()) std::construct_at(&entry);
  for (uint32_t group = 0; group < kGroupCount; ++group) {
    for (JournalSlot& slot : mapping.journal(group)) std::construct_at(&slot);
  }
  for (FuseSlot& slot : mapping.fuse_journal()) std::construct_at(&slot);
  header->magic = kMagic;
  return mapping;
}

Result<KeptMapping> KeptMapping::attach(UniqueFd fd) {
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return errno_error(errno, "kept state");
  if (status.st_size != static_cast<off_t>(kStateBytes)) {
    return make_error(Errc::kInvalid, "the kept state has another size: keeper and worker differ");
  }
  TRY(mapping, map(std::move(fd)));
  const KeptHeader& header = mapping.header();
  if (header.magic != kMagic || header.version != kVersion || header.group_count != kGroupCount) {
    return make_error(Errc::kInvalid,
                      "the kept state has another layout: keeper and worker differ");
  }
  return mapping;
}

Result<KeptMapping> KeptMapping::map(UniqueFd fd) {
  void* memory =
      mmap(nullptr, kStateBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd.get(), 0);
  if (memory == MAP_FAILED) return errno_error(errno, "map the kept state");
  return KeptMapping(std::move(fd), static_cast<std::byte*>(memory));
}

KeptMapping::KeptMapping(KeptMapping&& other) noexcept
    : x_fd(std::move(other.x_fd)), x_memory(std::exchange(other.x_memory, nullptr)) {}

KeptMapping::~KeptMapping() {
  if (x_memory != nullptr) munmap(x_memory, kStateBytes);
}

KeptHeader& KeptMapping::header() const {
  return *reinterpret_cast<KeptHeader*>(x_memory);
}

std::span<KeptSegment> KeptMapping::segments() const {
  return {reinterpret_cast<KeptSegment*>(x_memory + kSegmentsOffset), kMaxKeptSegments};
}

std::span<JournalSlot> KeptMapping::journal(uint32_t group) const {
  assert(group < kGroupCount);
  auto* first = reinterpret_cast<JournalSlot*>(x_memory + kJournalOffset);
  return {first + size_t{group} * kSlotsPerGroup, kSlotsPerGroup};
}

std::span<FuseSlot> KeptMapping::fuse_journal() const {
  return {reinterpret_cast<FuseSlot*>(x_memory + kFuseOffset), kFuseSlots};
}

}  // namespace dedup
