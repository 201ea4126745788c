// What the kernel offers in FUSE_INIT, which it sends first on every connection.
#include <linux/fuse.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "doors/fuse_mount.h"
#include "doors/fuse_protocol.h"
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

KernelFact flag_fact(const char* name, bool there, const char* advice) {
  return {name, there ? Offered::kYes : Offered::kNo,
          there ? "offered in FUSE_INIT" : "not offered in FUSE_INIT", there ? "" : advice};
}

}  // namespace

std::vector<KernelFact> fuse_facts() {
  const auto mount = FuseMount::make();
  if (!mount.ok()) {
    return {{"fuse", Offered::kNo, mount.error().to_string(),
             "modprobe fuse, or a kernel with CONFIG_FUSE_FS"}};
  }
  std::array<std::byte, kFuseMinBufferBytes> buffer;
  const ssize_t got = ::read(mount->device(), buffer.data(), buffer.size());
  if (got < 0) return {{"fuse", Offered::kUnknown, std::strerror(errno), ""}};
  const auto request = parse_fuse_request(std::span(buffer).first(static_cast<size_t>(got)));
  const auto argument = request.ok() ? fuse_argument<fuse_init_in>(*request) : std::nullopt;
  if (!argument || request->opcode != FUSE_INIT) {
    return {{"fuse", Offered::kUnknown, "no FUSE_INIT came", ""}};
  }
  const fuse_init_in& init = *argument;
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
