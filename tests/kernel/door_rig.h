// What every test of a door needs: a loop on a thread of its own, a lazy image, a link without a
// keeper, and a door on top. The test thread plays the container.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <thread>

#include "kernel/erofs_mount.h"
#include "kernel/fake_filler.h"
#include "kernel/lazy_image.h"
#include "kernel/rig_door.h"

namespace dedup::test {

inline constexpr size_t kAllSlots = SIZE_MAX;

// A standalone link, optionally with shorter journals.
class RigLink final : public KeptLink {
 public:
  RigLink(std::unique_ptr<KeptLink> inner, size_t slots)
      : x_inner(std::move(inner)), x_slots(slots) {}
  KeptHeader& header() override { return x_inner->header(); }
  std::span<JournalSlot> journal(uint32_t group) override {
    return x_inner->journal(group).first(std::min<size_t>(x_slots, kSlotsPerGroup));
  }
  std::span<FuseSlot> fuse_journal() override {
    return x_inner->fuse_journal().first(std::min<size_t>(x_slots, kFuseSlots));
  }
  Result<void> keep(uint32_t segment, int fd) override { return x_inner->keep(segment, fd); }
  Result<void> drop(uint32_t segment) override { return x_inner->drop(segment); }
  std::vector<Kept> kept() const override { return x_inner->kept(); }
  int kept_device(uint32_t key) const override { return x_inner->kept_device(key); }
  void release_number(int number) override { x_inner->release_number(number); }
  bool has_keeper() const override { return false; }
  int keeper_fd() const override { return -1; }

 private:
  std::unique_ptr<KeptLink> x_inner;
  size_t x_slots;
};

class DoorRig {
 public:
  explicit DoorRig(std::vector<LazyFile> files, RigDoor kind = RigDoor::kFanotify,
                   size_t slots = kAllSlots);
  ~DoorRig();  // unmounts first, so that nobody is left waiting

  void open_door();  // and keeps and adds every segment
  void attach_all();
  void start();
  void mount();
  Result<void> try_mount();
  void all() { open_door(), attach_all(), start(), mount(); }
  // The next worker after the death of one that had no request open.
  void replace_door();
  Result<void> probe(const std::string& name, uint64_t file_offset, uint32_t segment);

  // Runs `action` on the loop and waits.
  template <typename F>
  void on_loop(F action) {
    block_on(*ring, run_there(std::move(action)));
  }
  DoorCounters counters();
  std::string path(const std::string& name) const { return mounted->path(name); }

  ScratchDirectory scratch;
  LazyImage image;
  Log log;
  std::unique_ptr<Ring> ring;
  std::unique_ptr<Workers> workers;
  std::unique_ptr<RigLink> link;
  std::unique_ptr<FakeFiller> filler;
  std::unique_ptr<Door> door;
  std::optional<ErofsMount> mounted;
  std::set<uint32_t> complete;  // segments that mount() says are complete
  DoorContext context() { return {*ring, *workers, log, *filler, *link, scratch.path()}; }

 private:
  template <typename F>
  static Task<void> run_there(F action) {
    action();
    co_return;
  }
  RigDoor x_kind;
  std::vector<UniqueFd> x_segments;
  std::thread x_loop;
};

// Outcome of reading `bytes` of the pattern file `path` at `offset` through the mount.
enum class Read : uint8_t { kRight, kWrong, kEio, kOther };
Read read_pattern(const std::string& path, uint32_t segment, uint64_t offset, size_t bytes);

// A child that reads one page and exits 0 when it was right.
pid_t fork_reader(const std::string& path, uint32_t segment, uint64_t offset);

// Skips the running test where the kernel has no such door.
#define SKIP_WITHOUT_DOOR(kind)                                   \
  do {                                                            \
    const auto usable = supported(kind);                          \
    if (!usable.ok()) GTEST_SKIP() << usable.error().to_string(); \
  } while (false)

}  // namespace dedup::test
