// The keeper's part of the guard (guard.h): every process that holds the groups is entered in the
// guard's map of holders; the kernel strikes it out when it dies. Allocates nothing, async-signal
// safe; any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace dedup {

inline constexpr const char* kGuardBase = "/sys/fs/bpf/dedup-snapshotter";
// Where the guards of all lives of a root are pinned, one folder each, named guard_life().
std::string guard_directory(const std::string& root);
std::string guard_life(uint64_t life);
// Path of the map; "" without a directory.
std::string guard_holders_map(const std::string& directory, uint64_t life);

// Without a guard there is none, and nothing is done.
void enter_guard_holder(const char* holders_map, pid_t pid);
// For a process that may have died before it was entered: nobody else would strike it out.
void leave_guard_holder(const char* holders_map, pid_t pid);

}  // namespace dedup
