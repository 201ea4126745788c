#include "doors/kept_link.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "doors/fanotify_group.h"
#include "doors/kept_channel.h"
#include "doors/kept_mapping.h"
#include "doors/old_numbers.h"

namespace dedup {
namespace {

std::vector<KeptLink::Kept> segments_of(std::vector<KeptLink::Kept> all) {
  std::erase_if(all, [](const KeptLink::Kept& kept) { return kept.segment >= kFirstKeptDevice; });
  return all;
}

class KeeperLink final : public KeptLink {
 public:
  KeeperLink(KeptMapping mapping, KeptChannel channel, OldNumbers numbers)
      : x_mapping(std::move(mapping)),
        x_channel(std::move(channel)),
        x_numbers(std::move(numbers)) {
    for (const KeptSegment& entry : x_mapping.segments()) {
      const uint32_t segment = entry.segment.load();
      if (segment != 0) x_kept.push_back({segment, entry.fd.load()});
    }
    for (uint32_t group = 0; group < kGroupCount; ++group) {
      x_numbers.occupy(x_mapping.journal(group));
    }
    close_on_exec();
  }

  KeptHeader& header() override { return x_mapping.header(); }
  std::span<JournalSlot> journal(uint32_t group) override { return x_mapping.journal(group); }
  std::span<FuseSlot> fuse_journal() override { return x_mapping.fuse_journal(); }

  Result<void> keep(uint32_t segment, int fd) override {
    return x_channel.request(KeptAction::kKeep, segment, fd);
  }

  Result<void> drop(uint32_t segment) override {
    std::erase_if(x_kept, [&](const Kept& kept) {
      if (kept.segment != segment) return false;
      x_numbers.retire(kept.fd);
      return true;
    });
    return x_channel.request(KeptAction::kDrop, segment, -1);
  }

  // Only what was inherited: an fd kept since has a number of the keeper's table, not of ours.
  std::vector<Kept> kept() const override { return segments_of(x_kept); }
  int kept_device(uint32_t key) const override {
    for (const Kept& kept : x_kept) {
      if (kept.segment == key) return kept.fd;
    }
    return -1;
  }
  void release_number(int number) override { x_numbers.release(number); }
  bool has_keeper() const override { return true; }
  int keeper_fd() const override { return x_channel.fd(); }

 private:
  // What a process started by this worker inherited would outlive the worker.
  void close_on_exec() {
    for (const int fd : x_mapping.header().group_fd) {
      if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    for (const Kept& kept : x_kept) fcntl(kept.fd, F_SETFD, FD_CLOEXEC);
  }

  KeptMapping x_mapping;
  KeptChannel x_channel;
  OldNumbers x_numbers;
  std::vector<Kept> x_kept;
};

class StandaloneLink final : public KeptLink {
 public:
  StandaloneLink(KeptMapping mapping, std::vector<UniqueFd> groups)
      : x_mapping(std::move(mapping)), x_groups(std::move(groups)) {}

  KeptHeader& header() override { return x_mapping.header(); }
  std::span<JournalSlot> journal(uint32_t group) override { return x_mapping.journal(group); }
  std::span<FuseSlot> fuse_journal() override { return x_mapping.fuse_journal(); }

  Result<void> keep(uint32_t segment, int fd) override {
    for (const auto& kept : x_kept) {
      if (kept.segment == segment) return {};
    }
    UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copy.valid()) return errno_error(errno, "keep the fd of a segment");
    x_kept.push_back({segment, std::move(copy)});
    return {};
  }
  Result<void> drop(uint32_t segment) override {
    std::erase_if(x_kept, [&](const auto& kept) { return kept.segment == segment; });
    return {};
  }
  std::vector<Kept> kept() const override {
    std::vector<Kept> list;
    for (const auto& kept : x_kept) list.push_back({kept.segment, kept.fd.get()});
    return segments_of(std::move(list));
  }
  int kept_device(uint32_t key) const override {
    for (const auto& kept : x_kept) {
      if (kept.segment == key) return kept.fd.get();
    }
    return -1;
  }
  void release_number(int) override {}
  bool has_keeper() const override { return false; }
  int keeper_fd() const override { return -1; }

 private:
  struct Owned {
    uint32_t segment;
    UniqueFd fd;
  };
  KeptMapping x_mapping;
  std::vector<UniqueFd> x_groups;
  std::vector<Owned> x_kept;
};

}  // namespace

Result<std::unique_ptr<KeptLink>> KeptLink::from_environment() {
  const char* text = std::getenv(kEnvironment);
  if (text == nullptr) return make_error(Errc::kNotFound, "not started by a keeper");
  int state = -1;
  int control = -1;
  int lock = -1;
  if (std::sscanf(text, "state=%d,control=%d,lock=%d", &state, &control, &lock) != 3) {
    return make_error(Errc::kInvalid, std::string(kEnvironment) + "=" + text);
  }
  for (const int fd : {state, control, lock}) {
    if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  unsetenv(kEnvironment);  // not for processes that this worker starts
  TRY(mapping, KeptMapping::attach(UniqueFd(state)));
  TRY(numbers, OldNumbers::open());
  KeptChannel channel(UniqueFd(control), uint64_t{mapping.header().worker_starts.load()} << 32);
  return std::unique_ptr<KeptLink>(
      std::make_unique<KeeperLink>(std::move(mapping), std::move(channel), std::move(numbers)));
}

Result<std::unique_ptr<KeptLink>> KeptLink::standalone() {
  TRY(mapping, KeptMapping::create());
  std::vector<UniqueFd> groups;
  for (int32_t& number : mapping.header().group_fd) {
    auto group = make_fanotify_group();
    if (!group.ok()) break;
    number = group->get();
    groups.push_back(std::move(*group));
  }
  return std::unique_ptr<KeptLink>(
      std::make_unique<StandaloneLink>(std::move(mapping), std::move(groups)));
}

}  // namespace dedup
