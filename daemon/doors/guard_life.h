// GuardLife: the pinned BPF programs and maps that guard the mounts of one life of the fanotify
// groups (bpf/guard.bpf.c). They work without any process of ours and end when the folder is
// removed. One thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace dedup {

using ImageUuid = std::array<uint8_t, 16>;  // of a metadata image, and of its superblocks

// One superblock of a metadata image.
struct GuardedMount {
  uint32_t device = 0;  // as the kernel counts: major << 20 | minor
  ImageUuid uuid{};
};

class GuardLife {
 public:
  static constexpr const char* kUnfinished = "-new";  // end of a folder's name; bpffs takes no dots

  // Loads, attaches and pins everything in `folder`, which appears when it is whole.
  //   errors  kUnsupported: BTF or a tracepoint is missing; kDenied: BPF is forbidden
  static Result<GuardLife> create(const std::string& folder);
  // One that was created before.
  static Result<GuardLife> open(const std::string& folder);

  const std::string& folder() const { return x_folder; }

  Result<void> enter_holder(int32_t pid);
  bool has_holder(int32_t pid) const;
  void leave_holder(int32_t pid);

  Result<void> arm(const GuardedMount& mount);
  void disarm(const GuardedMount& mount);
  std::vector<GuardedMount> armed() const;

  struct State {
    bool dead = false;
    uint64_t killed = 0;
  };
  State state() const;
  Result<void> set_dead(bool dead);

  // Unpins everything: the programs end.
  void remove();

 private:
  explicit GuardLife(std::string folder) : x_folder(std::move(folder)) {}

  std::string x_folder;
  UniqueFd x_holders;
  UniqueFd x_guarded;
  UniqueFd x_state;
};

}  // namespace dedup
