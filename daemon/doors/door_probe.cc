#include "doors/door_probe.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>

namespace dedup {
namespace {

constexpr std::chrono::seconds kLongestProbe{5};
constexpr size_t kPageBytes = 4096;

// 0 or errno. Random access: the event then asks for this page only.
int read_page(const std::string& path, uint64_t offset) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return errno;
  const auto position = static_cast<off_t>(offset);
  posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM);
  std::array<std::byte, kPageBytes> page;
  const int status = pread(fd.get(), page.data(), page.size(), position) < 0 ? errno : 0;
  posix_fadvise(fd.get(), position, kPageBytes, POSIX_FADV_DONTNEED);
  return status;
}

}  // namespace

DoorProbe::DoorProbe(Ring& ring, std::string path, uint64_t file_offset, uint32_t segment,
                     uint64_t segment_offset)
    : x_ring(ring),
      x_path(std::move(path)),
      x_file_offset(file_offset),
      x_segment(segment),
      x_segment_offset(segment_offset),
      x_verdict(ring),
      x_ended(ring) {}

DoorProbe::~DoorProbe() {
  if (x_thread.joinable()) x_thread.join();
}

void DoorProbe::start() {
  x_thread =
      std::thread([weak = weak_from_this(), &ring = x_ring, path = x_path, offset = x_file_offset] {
        const int status = read_page(path, offset);
        ring.post([weak, status] {
          if (const auto self = weak.lock()) self->on_read(status);
        });
      });
}

bool DoorProbe::claims(uint32_t segment, ByteRange range) {
  if (segment != x_segment || !range.contains({x_segment_offset, 1})) return false;
  x_seen = true;
  return true;
}

void DoorProbe::on_read(int status) {
  x_thread.join();
  x_timer.cancel();
  if (!x_verdict.ready()) {
    if (x_seen && status != 0) {
      x_verdict.set({});
    } else if (status == 0) {
      x_verdict.set(make_error(Errc::kUnsupported,
                               "reading " + x_path +
                                   " raised no pre-access event: the mount was "
                                   "made before the mark, or the kernel does not watch it"));
    } else {
      x_verdict.set(errno_error(status, "probe read of " + x_path));
    }
  }
  x_ended.set(true);
}

Task<void> DoorProbe::expire(std::shared_ptr<DoorProbe> probe) {
  co_await probe->x_ring.sleep(kLongestProbe, probe->x_timer.token());
  if (probe->x_verdict.ready()) co_return;
  probe->x_verdict.set(
      make_error(Errc::kUnavailable, "probe read of " + probe->x_path + " did not end in 5 s"));
}

}  // namespace dedup
