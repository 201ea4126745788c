#include "doors/fuse_read.h"

#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

namespace dedup {

std::span<const std::byte> CachedReads::read(const FuseFile& file, ByteRange range) {
  const iovec part{x_buffer.get(), range.length};
  const ssize_t got =
      ::preadv2(file.fd.get(), &part, 1, static_cast<off_t>(range.offset), RWF_NOWAIT);
  if (got != static_cast<ssize_t>(range.length)) return {};
  return {x_buffer.get(), range.length};
}

Result<Bytes> read_from_disk(const FuseFile& file, ByteRange range) {
  Bytes bytes(range.length);
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t got = ::pread(file.fd.get(), bytes.data() + done, bytes.size() - done,
                                static_cast<off_t>(range.offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(errno, "read");
    if (got == 0) return make_error(Errc::kCorruption, "the data file is too short");
    done += static_cast<size_t>(got);
  }
  return bytes;
}

}  // namespace dedup
