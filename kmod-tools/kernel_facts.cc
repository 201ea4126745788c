#include "kernel_facts.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "base/result.h"
#include "base/unique_fd.h"

namespace dedup {
namespace {

constexpr int kGetMemoryMerge = 68;  // PR_GET_MEMORY_MERGE, Linux 6.4
constexpr const char* kKsmAdvice = "a kernel with CONFIG_KSM";

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

KernelFact fact(std::string name, bool there, std::string detail, std::string advice) {
  return {std::move(name), there ? Offered::kYes : Offered::kNo, std::move(detail),
          there ? "" : std::move(advice)};
}

// An unnamed file of `directory`.
UniqueFd unnamed_file(const std::string& directory) {
  return UniqueFd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
}

}  // namespace

std::vector<KernelFact> ksm_facts() {
  const std::string ksm = "/sys/kernel/mm/ksm/";
  if (!exists(ksm + "run")) return {fact("ksm", false, "no " + ksm, kKsmAdvice)};
  const bool per_process = ::prctl(kGetMemoryMerge, 0, 0, 0, 0) >= 0;
  return {
      fact("ksm", true, "run is " + first_line(ksm + "run"), ""),
      fact("ksm_per_process", per_process,
           per_process ? "PR_SET_MEMORY_MERGE is known" : std::strerror(errno), "Linux 6.4+"),
      fact("ksm_advisor", exists(ksm + "advisor_mode"),
           exists(ksm + "advisor_mode") ? first_line(ksm + "advisor_mode") : "no advisor_mode",
           "Linux 6.8+"),
      fact("ksm_process_stat", exists("/proc/self/ksm_stat"),
           exists("/proc/self/ksm_stat") ? "/proc/PID/ksm_stat is there" : "no /proc/PID/ksm_stat",
           "Linux 6.1+"),
  };
}

KernelFact cgroup_fact() {
  struct statfs status {};
  if (::statfs("/sys/fs/cgroup", &status) != 0) {
    return {"cgroup_v2", Offered::kNo, "/sys/fs/cgroup is not mounted", "mount cgroup2 there"};
  }
  if (status.f_type == CGROUP2_SUPER_MAGIC) return fact("cgroup_v2", true, "unified", "");
  const bool hybrid = exists("/sys/fs/cgroup/unified/cgroup.procs");
  return {"cgroup_v2", Offered::kNo, hybrid ? "v1, with v2 beside it" : "v1 only",
          "boot with systemd.unified_cgroup_hierarchy=1"};
}

KernelFact reflink_fact(const std::string& directory) {
  const UniqueFd from = unnamed_file(directory);
  const UniqueFd to = unnamed_file(directory);
  const std::string advice = "a pool on xfs (reflink=1) or btrfs";
  if (!from.valid() || !to.valid()) {
    return {"reflink", Offered::kNo, directory + ": " + std::strerror(errno), advice};
  }
  const char byte = 'x';
  if (::write(from.get(), &byte, 1) != 1) {
    return {"reflink", Offered::kUnknown, directory + ": " + std::strerror(errno), ""};
  }
  const bool cloned = ::ioctl(to.get(), FICLONE, from.get()) == 0;
  return fact("reflink", cloned, cloned ? "FICLONE works in " + directory : std::strerror(errno),
              advice);
}

KernelFact inode_share_fact() {
  const UniqueFd context(static_cast<int>(::syscall(SYS_fsopen, "erofs", FSOPEN_CLOEXEC)));
  const std::string advice = "Linux 7.0+ with CONFIG_EROFS_FS_PAGE_CACHE_SHARE";
  if (!context.valid()) return fact("inode_share", false, std::strerror(errno), advice);
  const bool known =
      ::syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_FLAG, "inode_share", nullptr, 0) == 0;
  return fact("inode_share", known,
              known ? "the mount option is known" : "the mount option is unknown", advice);
}

}  // namespace dedup
