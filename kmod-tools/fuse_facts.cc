// What the kernel offers in FUSE_INIT, which it sends first on every connection.
#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/unique_fd.h"
#include "kernel_facts.h"

// Newer than the headers of Debian 12. Source: Linux 6.18 include/uapi/linux/fuse.h.
#ifndef FUSE_PASSTHROUGH
#define FUSE_PASSTHROUGH (1ULL << 37)
#endif
#ifndef FUSE_HAS_RESEND
#define FUSE_HAS_RESEND (1ULL << 39)
#endif
#ifndef FUSE_OVER_IO_URING
#define FUSE_OVER_IO_URING (1ULL << 41)
#endif

namespace dedup {
namespace {

constexpr size_t kRequestBytes = FUSE_MIN_READ_BUFFER;

// A connection that is mounted for as long as the object lives and never answered.
class Connection {
 public:
  Connection() : x_device(::open("/dev/fuse", O_RDWR | O_CLOEXEC)) {
    if (!x_device.valid() || ::mkdtemp(x_directory) == nullptr) {
      x_error = errno;
      return;
    }
    const std::string options =
        "fd=" + std::to_string(x_device.get()) + ",rootmode=40000,user_id=0,group_id=0";
    x_mounted = ::mount("dedup-kcheck", x_directory, "fuse", MS_NOSUID | MS_NODEV | MS_RDONLY,
                        options.c_str()) == 0;
    if (!x_mounted) x_error = errno;
  }
  ~Connection() {
    x_device.reset();  // first: the unmount would ask it
    if (x_mounted) ::umount2(x_directory, MNT_DETACH);
    ::rmdir(x_directory);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool mounted() const { return x_mounted; }
  int error() const { return x_error; }
  int fd() const { return x_device.get(); }

 private:
  UniqueFd x_device;
  char x_directory[32] = "/tmp/dedup-kcheck-XXXXXX";
  bool x_mounted = false;
  int x_error = 0;
};

KernelFact flag_fact(const char* name, bool there, const char* advice) {
  return {name, there ? Offered::kYes : Offered::kNo,
          there ? "offered in FUSE_INIT" : "not offered in FUSE_INIT", there ? "" : advice};
}

}  // namespace

std::vector<KernelFact> fuse_facts() {
  const Connection connection;
  if (!connection.mounted()) {
    return {{"fuse", Offered::kNo, std::string("/dev/fuse: ") + std::strerror(connection.error()),
             "modprobe fuse, or a kernel with CONFIG_FUSE_FS"}};
  }
  alignas(8) std::array<char, kRequestBytes> buffer{};
  const ssize_t got = ::read(connection.fd(), buffer.data(), buffer.size());
  fuse_in_header header{};
  fuse_init_in init{};
  if (got < static_cast<ssize_t>(sizeof(header) + offsetof(fuse_init_in, flags2))) {
    return {{"fuse", Offered::kUnknown, "no FUSE_INIT came", ""}};
  }
  std::memcpy(&header, buffer.data(), sizeof(header));
  std::memcpy(&init, buffer.data() + sizeof(header),
              std::min(sizeof(init), static_cast<size_t>(got) - sizeof(header)));
  const uint64_t flags = init.flags | uint64_t{init.flags2} << 32;
  const std::string version =
      "protocol " + std::to_string(init.major) + "." + std::to_string(init.minor);
  return {
      {"fuse", Offered::kYes, version, ""},
      flag_fact("fuse_passthrough", (flags & FUSE_PASSTHROUGH) != 0,
                "Linux 6.9+ with CONFIG_FUSE_PASSTHROUGH"),
      flag_fact("fuse_resend", (flags & FUSE_HAS_RESEND) != 0, "Linux 6.9+"),
      flag_fact("fuse_over_io_uring", (flags & FUSE_OVER_IO_URING) != 0,
                "Linux 6.14+ and 1 in /sys/module/fuse/parameters/enable_uring"),
  };
}

}  // namespace dedup
