#include "doors/fill_holes.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/unique_fd.h"

namespace dedup {
namespace {

constexpr size_t kStepBytes = 64 << 10;
alignas(4096) constexpr std::array<std::byte, kStepBytes> kZeros{};

Result<void> write_zeros(int fd, uint64_t begin, uint64_t end) {
  while (begin < end) {
    const size_t bytes = std::min<uint64_t>(kStepBytes, end - begin);
    const ssize_t put = ::pwrite(fd, kZeros.data(), bytes, static_cast<off_t>(begin));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno_error(errno, "write zeros");
    begin += static_cast<uint64_t>(put);
  }
  return {};
}

}  // namespace

Result<void> fill_holes(int fd, ByteRange range) {
  uint64_t at = range.offset;
  while (at < range.end()) {
    const off_t hole = ::lseek(fd, static_cast<off_t>(at), SEEK_HOLE);
    if (hole < 0) return errno_error(errno, "look for holes");
    if (static_cast<uint64_t>(hole) >= range.end()) return {};
    const off_t data = ::lseek(fd, hole, SEEK_DATA);
    if (data < 0 && errno != ENXIO)
      return errno_error(errno, "look for data");  // ENXIO: to the end
    at = data < 0 ? range.end() : std::min(static_cast<uint64_t>(data), range.end());
    TRY(write_zeros(fd, static_cast<uint64_t>(hole), at));
  }
  return {};
}

Result<void> fill_holes_of_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  const off_t end = fd.valid() ? ::lseek(fd.get(), 0, SEEK_END) : -1;
  if (end < 0) return errno_error(errno, "open " + path);
  return fill_holes(fd.get(), {0, static_cast<uint64_t>(end)});
}

}  // namespace dedup
