#include "pool/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

namespace dedup {

Result<UniqueFd> open_file(const std::string& path, int flags) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  if (!fd.valid()) return errno_error(errno, "open " + path);
  return fd;
}

Result<uint64_t> file_size(int fd, std::string_view name) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return errno_error(errno, std::string("stat ").append(name));
  return static_cast<uint64_t>(status.st_size);
}

Result<void> read_exactly(int fd, std::span<std::byte> out, uint64_t offset,
                          std::string_view name) {
  while (!out.empty()) {
    const ssize_t got = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(errno, std::string("read ").append(name));
    if (got == 0)
      return make_error(Errc::kCorruption, std::string(name) + " is shorter than it must be");
    out = out.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  return {};
}

Result<void> write_exactly(int fd, std::span<const std::byte> bytes, uint64_t offset,
                           std::string_view name) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno_error(errno, std::string("write ").append(name));
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return {};
}

Result<void> sync_file(int fd, std::string_view name) {
  if (::fdatasync(fd) != 0) return errno_error(errno, std::string("sync ").append(name));
  return {};
}

Result<Bytes> read_file(const std::string& path, uint64_t max_bytes) {
  TRY(fd, open_file(path, O_RDONLY));
  TRY(bytes, file_size(fd.get(), path));
  if (bytes > max_bytes)
    return make_error(Errc::kInvalid,
                      path + " is larger than " + std::to_string(max_bytes) + " bytes");
  Bytes content(bytes);
  TRY(read_exactly(fd.get(), content, 0, path));
  return content;
}

Result<void> write_file_durably(const std::string& path, std::span<const std::byte> bytes) {
  const std::string temporary = path + ".new";
  {
    TRY(fd, open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC));
    TRY(write_exactly(fd.get(), bytes, 0, temporary));
    TRY(sync_file(fd.get(), temporary));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    return errno_error(errno, "rename " + temporary);
  return sync_directory_of(path);
}

Result<void> sync_directory_of(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path().string();
  TRY(fd, open_file(directory.empty() ? "." : directory, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return errno_error(errno, "sync " + directory);
  return {};
}

Result<void> make_directories(const std::string& path) {
  std::error_code failed;
  std::filesystem::create_directories(path, failed);
  if (failed) return errno_error(failed.value(), "create directory " + path);
  ::chmod(path.c_str(), 0700);
  return {};
}

}  // namespace dedup
