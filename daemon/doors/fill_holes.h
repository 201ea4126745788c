// Holes of a file become zeros on disk, for a kernel that asks for every hole. Blocking; any
// thread.
#pragma once

#include <string>

#include "base/byte_range.h"
#include "base/result.h"

namespace dedup {

// range: whole blocks of 4096 bytes, inside the file. fd: may be O_DIRECT.
Result<void> fill_holes(int fd, ByteRange range);
Result<void> fill_holes_of_file(const std::string& path);

}  // namespace dedup
