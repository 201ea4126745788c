#include "trace/cgroups.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "base/unique_fd.h"

namespace dedup {
namespace {

constexpr int kKernfsHandle = 0xFE;  // FILEID_KERNFS of Linux 5.5

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

bool lists(std::string_view options, std::string_view wanted) {
  for (const std::string_view option : split(options, ',')) {
    if (option == wanted) return true;
  }
  return false;
}

Result<std::string> read_text(const std::string& path) {
  std::ifstream file(path);
  if (!file) return errno_error(errno, path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

Result<std::string> hierarchy_root(CgroupHierarchy hierarchy) {
  TRY(mounts, read_text("/proc/self/mountinfo"));
  std::string mount = hierarchy_mount(mounts, hierarchy);
  if (!mount.empty()) return mount;
  return make_error(Errc::kNotFound, hierarchy == CgroupHierarchy::kV2
                                         ? "cgroup v2 is not mounted"
                                         : "the memory controller of cgroup v1 is not mounted");
}

CgroupHierarchy node_hierarchy() {
  struct statfs status {};
  const bool unified = statfs("/sys/fs/cgroup", &status) == 0 &&
                       static_cast<unsigned long>(status.f_type) == CGROUP2_SUPER_MAGIC;
  return unified ? CgroupHierarchy::kV2 : CgroupHierarchy::kV1Memory;
}

Result<CgroupId> cgroup_id(const std::string& directory, CgroupHierarchy hierarchy) {
  const UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat status {};
  struct statfs system {};
  if (!fd.valid() || fstat(fd.get(), &status) != 0 || fstatfs(fd.get(), &system) != 0)
    return errno_error(errno, directory);
  const bool v2 = hierarchy == CgroupHierarchy::kV2;
  const auto wanted = v2 ? CGROUP2_SUPER_MAGIC : CGROUP_SUPER_MAGIC;
  if (system.f_type != wanted ||
      (!v2 && faccessat(fd.get(), "memory.usage_in_bytes", F_OK, 0) != 0)) {
    return make_error(Errc::kInvalid,
                      directory + " is not a cgroup of " + (v2 ? "v2" : "the memory controller"));
  }
  return CgroupId{status.st_ino};
}

std::string cgroup_in(std::string_view proc_pid_cgroup, CgroupHierarchy hierarchy) {
  for (const std::string_view line : split(proc_pid_cgroup, '\n')) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty() && line.starts_with("0:");
    if (hierarchy == CgroupHierarchy::kV2 ? v2 : lists(controllers, "memory"))
      return std::string(line.substr(second + 1));
  }
  return {};
}

std::string hierarchy_mount(std::string_view mountinfo, CgroupHierarchy hierarchy) {
  for (const std::string_view line : split(mountinfo, '\n')) {
    const size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    const auto mount = split(line.substr(0, dash), ' ');
    const auto source = split(line.substr(dash + 3), ' ');  // type, source, super block options
    if (mount.size() < 5 || source.size() < 3 || mount[3] != "/") continue;
    const bool v1 = source[0] == "cgroup" && lists(source[2], "memory");
    if (hierarchy == CgroupHierarchy::kV2 ? source[0] == "cgroup2" : v1)
      return std::string(mount[4]);
  }
  return {};
}

Result<std::string> cgroup_of_process(pid_t pid, CgroupHierarchy hierarchy) {
  TRY(mount, hierarchy_root(hierarchy));
  const std::string file = "/proc/" + std::to_string(pid) + "/cgroup";
  TRY(text, read_text(file));
  const std::string path = cgroup_in(text, hierarchy);
  if (path.empty()) return make_error(Errc::kNotFound, file + " names no such cgroup");
  return path == "/" ? mount : mount + path;
}

Result<std::string> cgroup_directory(CgroupId id, CgroupHierarchy hierarchy) {
  TRY(mount, hierarchy_root(hierarchy));
  const UniqueFd root(open(mount.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  alignas(file_handle) std::array<char, sizeof(file_handle) + sizeof(id)> memory{};
  auto* handle = reinterpret_cast<file_handle*>(memory.data());
  handle->handle_bytes = sizeof(id);
  handle->handle_type = kKernfsHandle;
  std::memcpy(handle->f_handle, &id, sizeof(id));
  const UniqueFd group(open_by_handle_at(root.get(), handle, O_PATH | O_CLOEXEC));
  if (!group.valid()) return make_error(Errc::kNotFound, "cgroup " + std::to_string(id));
  std::array<char, PATH_MAX> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(group.get());
  const ssize_t length = readlink(link.c_str(), path.data(), path.size());
  if (length < 0) return errno_error(errno, link);
  return std::string(path.data(), static_cast<size_t>(length));
}

}  // namespace dedup
