// File primitives with errors that name the path: open, whole reads and writes, durable replace.
// Any thread; they block.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace dedup {

// O_CLOEXEC is added; new files get mode 0600.
Result<UniqueFd> open_file(const std::string& path, int flags);
Result<uint64_t> file_size(int fd, std::string_view name);
// All of `out`, or kCorruption when the file ends before.
Result<void> read_exactly(int fd, std::span<std::byte> out, uint64_t offset, std::string_view name);
Result<void> write_exactly(int fd, std::span<const std::byte> bytes, uint64_t offset,
                           std::string_view name);
Result<void> sync_file(int fd, std::string_view name);  // fdatasync
Result<Bytes> read_file(const std::string& path, uint64_t max_bytes);
// Writes a temporary file beside `path`, fsyncs it, renames it over `path`, fsyncs the directory.
Result<void> write_file_durably(const std::string& path, std::span<const std::byte> bytes);
Result<void> sync_directory_of(const std::string& path);
// mkdir -p of `path`, mode 0700.
Result<void> make_directories(const std::string& path);

}  // namespace dedup
