// KeptMapping: the shared memfd of kept_state.h, made by the keeper and mapped by every worker.
// Owned by the keeper or by a KeptLink; who may write which field is said in kept_state.h.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "base/unique_fd.h"
#include "doors/kept_state.h"

namespace dedup {

class KeptMapping {
 public:
  // A new, empty state with all its memory allocated: a read(2) into a slot must never fail for
  // lack of a page.
  static Result<KeptMapping> create();
  // Maps the state behind `fd`.
  //   errors  kInvalid: made by a program with another layout.
  static Result<KeptMapping> attach(UniqueFd fd);

  KeptMapping(KeptMapping&& other) noexcept;
  KeptMapping& operator=(KeptMapping&&) = delete;
  ~KeptMapping();

  int fd() const { return x_fd.get(); }
  KeptHeader& header() const;
  std::span<KeptSegment> segments() const;               // kMaxKeptSegments
  std::span<JournalSlot> journal(uint32_t group) const;  // kSlotsPerGroup
  std::span<FuseSlot> fuse_journal() const;              // kFuseSlots

 private:
  KeptMapping(UniqueFd fd, std::byte* memory) : x_fd(std::move(fd)), x_memory(memory) {}
  static Result<KeptMapping> map(UniqueFd fd);

  UniqueFd x_fd;
  std::byte* x_memory = nullptr;
};

}  // namespace dedup
