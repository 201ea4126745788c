#include "snapshotter/snapshot_directories.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <memory>
#include <set>
#include <vector>

#include "base/unique_fd.h"

namespace dedup {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

Error io_error(int number, std::string_view what) {
  Error error = errno_error(number, what);
  if (error.code != Errc::kNoSpace) error.code = Errc::kIo;
  return error;
}

Result<void> make_folder(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) return {};
  return io_error(errno, "make " + path);
}

Result<Directory> open_directory(int parent, const char* name) {
  UniqueFd fd(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return io_error(errno, std::string("open ") + name);
  Directory directory(::fdopendir(fd.get()));
  if (!directory) return io_error(errno, std::string("open ") + name);
  [[maybe_unused]] const int owned = fd.release();
  return directory;
}

bool is_dot(const char* name) {
  return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

}  // namespace

Result<void> SnapshotDirectories::create_root(const std::string& root) {
  for (const char* below : {"", "/snapshots", "/removed"}) {
    std::error_code failed;
    std::filesystem::create_directories(root + below, failed);
    if (failed) return io_error(failed.value(), "make " + root + below);
    if (::chmod((root + below).c_str(), 0700) != 0) return io_error(errno, "chmod " + root + below);
  }
  return {};
}

Result<void> SnapshotDirectories::create(int64_t id, SnapshotKind kind,
                                         const std::string& parent_root) {
  struct stat root {};
  root.st_mode = 0755;
  if (!parent_root.empty() && ::stat(parent_root.c_str(), &root) != 0) {
    return io_error(errno, "parent's root " + parent_root);
  }
  TRY(make_folder(folder(id), 0700));
  TRY(make_folder(fs(id), 0755));
  if (kind == SnapshotKind::kActive) TRY(make_folder(work(id), 0711));
  if (::chown(fs(id).c_str(), root.st_uid, root.st_gid) != 0) {
    return io_error(errno, "chown " + fs(id));
  }
  // The process's umask had its say in mkdir.
  if (::chmod(fs(id).c_str(), root.st_mode & 07777) != 0) {
    return io_error(errno, "chmod " + fs(id));
  }
  return {};
}

// By descriptors relative to each other: paths in a container may be longer than PATH_MAX.
Result<SnapshotUsage> SnapshotDirectories::usage(int64_t id) const {
  constexpr int64_t kStatBlockBytes = 512;
  TRY(top, open_directory(AT_FDCWD, fs(id).c_str()));
  std::vector<Directory> open;
  open.push_back(std::move(top));
  SnapshotUsage usage;
  std::set<ino_t> linked;
  const auto count = [&](const struct stat& status) {
    if (status.st_nlink > 1 && !S_ISDIR(status.st_mode) && !linked.insert(status.st_ino).second)
      return;
    usage.bytes += status.st_blocks * kStatBlockBytes;
    ++usage.inodes;
  };
  struct stat status {};
  if (::fstat(::dirfd(open[0].get()), &status) == 0) count(status);
  while (!open.empty()) {
    const int parent = ::dirfd(open.back().get());
    const dirent* entry = ::readdir(open.back().get());
    if (entry == nullptr) {
      open.pop_back();
      continue;
    }
    if (is_dot(entry->d_name)) continue;
    // A running container removes files while they are counted.
    if (::fstatat(parent, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    count(status);
    if (!S_ISDIR(status.st_mode)) continue;
    auto below = open_directory(parent, entry->d_name);
    if (!below.ok() && below.error().sys_errno != ENOENT) return std::move(below).error();
    if (below.ok()) open.push_back(std::move(*below));
  }
  return usage;
}

Result<void> SnapshotDirectories::discard_folder(const std::string& name) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const std::string from = x_root + "/snapshots/" + name;
  // Unique also among what an earlier process left behind.
  const std::string to = x_root + "/removed/" + name + "." + std::to_string(now.tv_sec) + "." +
                         std::to_string(::getpid()) + "." + std::to_string(++x_discarded);
  if (::rename(from.c_str(), to.c_str()) == 0 || errno == ENOENT) return {};
  return io_error(errno, "move " + from + " away");
}

Result<void> SnapshotDirectories::discard(int64_t id) {
  return discard_folder(std::to_string(id));
}

Result<void> SnapshotDirectories::discard_others(std::span<const int64_t> owners) {
  std::set<std::string> kept;
  for (const int64_t id : owners) kept.insert(std::to_string(id));
  TRY(directory, open_directory(AT_FDCWD, (x_root + "/snapshots").c_str()));
  std::vector<std::string> others;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (!is_dot(entry->d_name) && !kept.contains(entry->d_name)) others.emplace_back(entry->d_name);
  }
  for (const std::string& name : others) TRY(discard_folder(name));
  return {};
}

Result<void> SnapshotDirectories::empty_removed() {
  TRY(directory, open_directory(AT_FDCWD, (x_root + "/removed").c_str()));
  Result<void> outcome;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (is_dot(entry->d_name)) continue;
    const std::string path = x_root + "/removed/" + entry->d_name;
    std::error_code failed;
    std::filesystem::remove_all(path, failed);
    if (failed) outcome = io_error(failed.value(), "delete " + path);
  }
  return outcome;
}

}  // namespace dedup
