// The nouns of containerd's snapshot API as plain values. A key names an active or view snapshot, a
// name a committed one; a parent is always committed. Passive data.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dedup {

using Labels = std::map<std::string, std::string>;

// Numbers of the wire's Kind.
enum class SnapshotKind : uint8_t { kView = 1, kActive = 2, kCommitted = 3 };

struct SnapshotInfo {
  std::string name;
  std::string parent;  // "" when it has none
  SnapshotKind kind = SnapshotKind::kActive;
  int64_t created_ns = 0;  // since 1970
  int64_t updated_ns = 0;
  Labels labels;
};

struct NewSnapshot {
  SnapshotKind kind = SnapshotKind::kActive;
  std::string key;
  std::string parent;
  Labels labels;
};

struct SnapshotUsage {
  int64_t bytes = 0;  // allocated on disk
  int64_t inodes = 0;
};

struct Mount {
  std::string type;
  std::string source;
  std::vector<std::string> options;
  bool operator==(const Mount&) const = default;
};

inline constexpr std::string_view kTargetLabel = "containerd.io/snapshot.ref";

// The snapshot is in a state that does not allow the call: FAILED_PRECONDITION, which Errc has no
// word for, is kInvalid with an errno.
Error precondition_error(std::string sentence);
bool is_precondition(const Error& error);

}  // namespace dedup
