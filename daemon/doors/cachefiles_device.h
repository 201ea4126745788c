// /dev/cachefiles as a plain fd: one process of the whole kernel can have it open, and everything
// that its mounts read goes through it. Blocking calls that return at once; one thread at a time.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "doors/cachefiles_protocol.h"

namespace dedup {

// Whether the file system of `directory` can hold the kernel's cache; kUnsupported if not.
Result<void> check_cachefiles_directory(const std::string& directory);
// The fd is non-blocking; this waits up to half a second for a holder to go, and is called before
// anything is served.
//   errors  kUnsupported: no such device, or held by another process
Result<UniqueFd> open_cachefiles();
// Gives the kernel `directory` to keep its cache in.
//   errors  kUnsupported: no on-demand mode
Result<void> bind_cachefiles(int device, const std::string& directory);

// Writes one command. errno_error of the kernel's refusal.
Result<void> write_cachefiles_command(int device, const std::string& command);

// The next message, or nullopt when nothing waits (the kernel then says 0 bytes). The fd of an OPEN
// is made close-on-exec.
//   errors  of one message, which is lost; the next may be read
Result<std::optional<CachefilesMessage>> read_cachefiles_message(int device);

// The kernel looks for the data again, and lets the reader go on or fail.
//   object  the fd that came with OPEN
Result<void> complete_cachefiles_read(int object, uint32_t message);

}  // namespace dedup
