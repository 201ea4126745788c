// What /proc and the cgroup tree say of a container. Blocking reads; any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "trace/cgroups.h"

namespace dedup {

// Id of a container by the directory of its cgroup: the last name, without what runtimes and
// systemd put around it ("cri-containerd-ID.scope" -> "ID").
std::string container_id(std::string_view cgroup_directory);

// The cgroup of a container: by its id or an unambiguous beginning of it.
//   errors  kNotFound; kInvalid: several begin so
Result<std::string> find_container(std::string_view id, CgroupHierarchy hierarchy);

enum class Dweller : uint8_t {
  kContainer,  // sees other mounts than this process
  kHost,
  kGone,
};
Dweller dweller(pid_t pid);

// It or a cgroup below it.
bool has_processes(const std::string& cgroup_directory);

// When the oldest process of the cgroup started, as process_start_ns: of a container its first one,
// which lives as long. 0: there is none.
uint64_t oldest_process_ns(const std::string& cgroup_directory);

// CLOCK_MONOTONIC, exact to 10 ms; 0 when it is gone.
uint64_t process_start_ns(pid_t pid);

// Its arguments; empty when it is gone or still the runtime's own process.
std::vector<std::string> entrypoint_of(pid_t pid);

}  // namespace dedup
