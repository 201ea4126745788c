#include "trace/container.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <utility>

namespace dedup {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxDepth = 12;
constexpr int kMaxProcesses = 1024;  // the first of a container is among the first of the list
constexpr size_t kMaxArgumentBytes = 4096;  // of all of them, in a profile
constexpr uint64_t kNsPerSecond = 1'000'000'000;

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string proc(pid_t pid, const char* what) {
  return "/proc/" + std::to_string(pid) + "/" + what;
}

int64_t now_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * static_cast<int64_t>(kNsPerSecond) + now.tv_nsec;
}

std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

// "runc init" and its kin, before they become the container's program.
bool is_runtime(const std::vector<std::string>& arguments) {
  if (arguments.size() < 2 || arguments[1] != "init") return false;
  const std::string_view program = base_name(arguments[0]);
  return program == "runc" || program == "crun" || program == "youki" || program == "exe";
}

// Whether `is_it` says so of a directory or of one below it. Cgroups end meanwhile: the others are
// looked at all the same.
bool any_cgroup(const std::string& top, const std::function<bool(const std::string&)>& is_it) {
  std::vector<std::pair<std::string, int>> left{{top, 0}};
  while (!left.empty()) {
    const auto [directory, depth] = std::move(left.back());
    left.pop_back();
    if (is_it(directory)) return true;
    std::error_code error;
    for (fs::directory_iterator it(directory, error), end; depth < kMaxDepth && !error && it != end;
         it.increment(error)) {
      std::error_code gone;
      if (it->is_directory(gone) && !it->is_symlink(gone))
        left.emplace_back(it->path().string(), depth + 1);
    }
  }
  return false;
}

}  // namespace

std::string container_id(std::string_view cgroup_directory) {
  std::string_view name = base_name(cgroup_directory);
  constexpr std::string_view kScope = ".scope";
  if (!name.ends_with(kScope)) return std::string(name);
  name.remove_suffix(kScope.size());
  for (const std::string_view runtime : {"cri-containerd-", "nerdctl-", "docker-", "crio-"}) {
    if (name.starts_with(runtime)) return std::string(name.substr(runtime.size()));
  }
  return std::string(name);
}

Result<std::string> find_container(std::string_view id, CgroupHierarchy hierarchy) {
  TRY(root, hierarchy_root(hierarchy));
  std::string exact;
  std::vector<std::string> similar;
  const bool found = any_cgroup(root, [&](const std::string& directory) {
    const std::string candidate = container_id(directory);
    if (candidate == id) exact = directory;
    if (candidate.starts_with(id)) similar.push_back(directory);
    return !exact.empty();
  });
  if (found) return exact;
  if (similar.size() > 1)
    return make_error(Errc::kInvalid,
                      "several containers begin with " + std::string(id) + ": give more of it");
  if (similar.empty())
    return make_error(Errc::kNotFound, "no running container " + std::string(id) +
                                           " (an image's name has a / in it)");
  return similar.front();
}

Dweller dweller(pid_t pid) {
  struct stat own {};
  struct stat its {};
  if (::stat("/proc/self/ns/mnt", &own) != 0 || ::stat(proc(pid, "ns/mnt").c_str(), &its) != 0)
    return Dweller::kGone;
  return own.st_ino == its.st_ino ? Dweller::kHost : Dweller::kContainer;
}

bool has_processes(const std::string& cgroup_directory) {
  // v2 counts all levels itself.
  const std::string events = read_text(cgroup_directory + "/cgroup.events");
  if (!events.empty()) return events.find("populated 1") != events.npos;
  return any_cgroup(cgroup_directory, [](const std::string& directory) {
    return !read_text(directory + "/cgroup.procs").empty();
  });
}

uint64_t oldest_process_ns(const std::string& cgroup_directory) {
  std::ifstream processes(cgroup_directory + "/cgroup.procs");
  uint64_t oldest_ns = 0;
  pid_t pid = 0;
  for (int i = 0; i < kMaxProcesses && processes >> pid; ++i) {
    const uint64_t start_ns = process_start_ns(pid);
    if (start_ns != 0 && (oldest_ns == 0 || start_ns < oldest_ns)) oldest_ns = start_ns;
  }
  return oldest_ns;
}

uint64_t process_start_ns(pid_t pid) {
  const std::string text = read_text(proc(pid, "stat"));
  size_t at = text.rfind(')');  // a program's name may hold anything
  constexpr int kFieldsToStart = 20;
  for (int field = 0; field < kFieldsToStart && at != text.npos; ++field)
    at = text.find(' ', at + 1);
  if (at == text.npos) return 0;
  const uint64_t ticks = std::strtoull(text.c_str() + at, nullptr, 10);
  const auto per_second = static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
  // Counted by a clock that goes on while the machine sleeps.
  const int64_t asleep_ns = now_ns(CLOCK_BOOTTIME) - now_ns(CLOCK_MONOTONIC);
  const int64_t start_ns = static_cast<int64_t>(ticks * (kNsPerSecond / per_second)) - asleep_ns;
  return start_ns > 0 ? static_cast<uint64_t>(start_ns) : 0;
}

std::vector<std::string> entrypoint_of(pid_t pid) {
  std::string text = read_text(proc(pid, "cmdline"));
  text.resize(std::min(text.size(), kMaxArgumentBytes));
  std::vector<std::string> arguments;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\0', begin), text.size());
    arguments.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return is_runtime(arguments) ? std::vector<std::string>() : arguments;
}

}  // namespace dedup
