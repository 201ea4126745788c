// The cgroup hierarchy containers are told apart by: the unified one of cgroup v2, or that of the
// memory controller of v1. Blocking reads of /proc and /sys; any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace dedup {

using CgroupId = uint64_t;  // st_ino of the directory; unique within its hierarchy while it exists

enum class CgroupHierarchy : uint8_t { kV1Memory, kV2 };

// What container runtimes of this node use: v2 when /sys/fs/cgroup is one, as runc decides.
CgroupHierarchy node_hierarchy();

// Id of a cgroup directory.
//   errors  kInvalid: not a cgroup of that hierarchy; kNotFound
Result<CgroupId> cgroup_id(const std::string& directory, CgroupHierarchy hierarchy);

// Directory of the cgroup a process is in, kNotFound when there is no such process or the hierarchy
// is not mounted.
Result<std::string> cgroup_of_process(pid_t pid, CgroupHierarchy hierarchy);

// Where it is mounted; kNotFound when it is not.
Result<std::string> hierarchy_root(CgroupHierarchy hierarchy);

// Directory of a cgroup that still exists, from its id.
Result<std::string> cgroup_directory(CgroupId id, CgroupHierarchy hierarchy);

// The two files behind it, as text. Empty when there is no such line.
std::string cgroup_in(std::string_view proc_pid_cgroup, CgroupHierarchy hierarchy);
std::string hierarchy_mount(std::string_view mountinfo, CgroupHierarchy hierarchy);

}  // namespace dedup
