// The fanotify door against the real kernel: what a reader of a lazy EROFS mount sees.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>

#include "kernel/door_rig.h"

namespace dedup::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr uint64_t kMiB = 1 << 20;

std::vector<LazyFile> one_file(uint64_t bytes = 64 * kMiB) {
  return {{"data", 5, bytes}};
}

// A child that reads one page and exits 0 when it was right.
pid_t fork_reader(const std::string& path, uint32_t segment, uint64_t offset) {
  const pid_t child = fork();
  if (child == 0) _exit(read_pattern(path, segment, offset, 4096) == Read::kRight ? 0 : 1);
  return child;
}

class FanotifyDoorTest : public testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_DOOR(); }
};

TEST_F(FanotifyDoorTest, ReadOfMissingDataGetsRightBytes) {
  DoorRig rig(one_file());
  rig.all();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, 300000 & ~7u), Read::kRight);
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 40 * kMiB + 4096, 4096), Read::kRight);
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 64 * kMiB - 8, 8), Read::kRight);
  EXPECT_GT(rig.counters().answered, 0u);
  EXPECT_EQ(rig.counters().denied, 0u);
}

TEST_F(FanotifyDoorTest, WithoutTheMarkTheSameReadIsZeros) {
  DoorRig rig(one_file());
  rig.open_door();
  rig.start();
  rig.mount();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, 4096), Read::kWrong);
}

TEST_F(FanotifyDoorTest, MappedMissingDataGetsRightBytes) {
  DoorRig rig(one_file());
  rig.all();
  rig.filler->delay_us = 2000;
  const UniqueFd fd(open(rig.path("data").c_str(), O_RDONLY | O_CLOEXEC));
  void* memory = mmap(nullptr, 64 * kMiB, PROT_READ, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  const std::span bytes(static_cast<const std::byte*>(memory), 64 * kMiB);
  for (uint64_t offset = 0; offset < bytes.size(); offset += 7 * kMiB + 4096) {
    EXPECT_EQ(first_wrong(5, offset, bytes.subspan(offset, 4096)), 4096u) << offset;
  }
  munmap(memory, 64 * kMiB);
}

TEST_F(FanotifyDoorTest, ProgramRunsWhileItsTextIsMissing) {
  std::ifstream file("/bin/true", std::ios::binary);
  const std::string program{std::istreambuf_iterator<char>(file), {}};
  ASSERT_FALSE(program.empty());
  DoorRig rig({{"true", 7, program.size(), program, 0755}});
  rig.all();
  rig.filler->delay_us = 1000;
  const std::string path = rig.path("true");
  const pid_t child = fork();
  if (child == 0) {
    execl(path.c_str(), "true", nullptr);
    _exit(99);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_GT(rig.filler->ensured, 0u);
}

TEST_F(FanotifyDoorTest, FailedFetchIsEioForThatReadOnly) {
  DoorRig rig(one_file());
  rig.all();
  rig.filler->fail = true;
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 8 * kMiB, 4096), Read::kEio);
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 8 * kMiB, 4096), Read::kEio);
  rig.filler->fail = false;
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 8 * kMiB, 4096), Read::kRight);
  EXPECT_GE(rig.counters().denied, 2u);
}

TEST_F(FanotifyDoorTest, ProbeFindsTheEventAndFetchesNothing) {
  DoorRig rig(one_file());
  rig.all();
  const auto probed = rig.probe("data", 12 * kMiB, 5);
  EXPECT_TRUE(probed.ok()) << probed.error().to_string();
  EXPECT_EQ(rig.filler->ensured, 0u);
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 12 * kMiB, 4096), Read::kRight);
}

TEST_F(FanotifyDoorTest, ProbeRejectsAMountMadeBeforeTheMark) {
  DoorRig rig(one_file());
  rig.open_door();
  rig.mount();
  rig.attach_all();
  rig.start();
  const auto probed = rig.probe("data", 12 * kMiB, 5);
  ASSERT_FALSE(probed.ok());
  EXPECT_EQ(probed.error().code, Errc::kUnsupported);
}

TEST_F(FanotifyDoorTest, ProbeOfAMissingFileIsAnError) {
  DoorRig rig(one_file());
  rig.all();
  const auto probed = rig.probe("nothing", 0, 5);
  ASSERT_FALSE(probed.ok());
  EXPECT_EQ(probed.error().code, Errc::kNotFound);
}

TEST_F(FanotifyDoorTest, MoreReadersThanJournalSlotsAllGetTheirData) {
  DoorRig rig(one_file(), 4);
  rig.all();
  rig.filler->delay_us = 20000;
  std::vector<pid_t> readers;
  for (uint64_t i = 0; i < 32; ++i) {
    readers.push_back(fork_reader(rig.path("data"), 5, i * kMiB));
  }
  for (const pid_t reader : readers) {
    int status = -1;
    ASSERT_EQ(waitpid(reader, &status, 0), reader);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(rig.filler->most_at_once, 4u);
}

TEST_F(FanotifyDoorTest, DetachedCompleteSegmentRaisesNoEvents) {
  DoorRig rig(one_file(4 * kMiB));
  rig.all();
  ASSERT_EQ(read_pattern(rig.path("data"), 5, 0, 4 * kMiB), Read::kRight);
  rig.on_loop([&] { EXPECT_TRUE(rig.door->detach(5).ok()); });
  EXPECT_EQ(rig.door->attached(), 0u);
  const auto before = rig.counters();
  const UniqueFd fd(open(rig.path("data").c_str(), O_RDONLY | O_CLOEXEC));
  posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, 4 * kMiB), Read::kRight);
  EXPECT_EQ(rig.counters().answered, before.answered);
}

TEST_F(FanotifyDoorTest, SlowSegmentDoesNotHoldUpAnother) {
  DoorRig rig({{"fast", 6, kMiB}, {"slow", 5, kMiB}});
  rig.all();
  rig.filler->slow_segment = 5;
  rig.filler->delay_us = 1000000;
  const pid_t slow = fork_reader(rig.path("slow"), 5, 0);
  while (rig.filler->ensured == 0) std::this_thread::sleep_for(milliseconds(1));
  const auto begin = steady_clock::now();
  EXPECT_EQ(read_pattern(rig.path("fast"), 6, 0, kMiB), Read::kRight);
  EXPECT_LT(steady_clock::now() - begin, milliseconds(500));
  int status = -1;
  EXPECT_EQ(waitpid(slow, &status, WNOHANG), 0);
  EXPECT_EQ(waitpid(slow, &status, 0), slow);
  EXPECT_EQ(status, 0);
}

TEST_F(FanotifyDoorTest, ReaderKilledWhileItWaitsHarmsNobody) {
  DoorRig rig(one_file());
  rig.all();
  rig.filler->delay_us = 300000;
  const pid_t reader = fork_reader(rig.path("data"), 5, 0);
  while (rig.filler->ensured == 0) std::this_thread::sleep_for(milliseconds(1));
  const auto begin = steady_clock::now();
  kill(reader, SIGKILL);
  ASSERT_EQ(waitpid(reader, nullptr, 0), reader);
  EXPECT_LT(steady_clock::now() - begin, milliseconds(200));
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, 4096), Read::kRight);
}

// A worker that died between read(2) and the answer: its event is in the journal, its fd is gone.
class OldEventTest : public FanotifyDoorTest, public testing::WithParamInterface<bool> {};

TEST_P(OldEventTest, IsAnsweredByTheNextWorkerBeforeAnythingIsLost) {
  DoorRig rig(one_file());
  rig.open_door();
  rig.attach_all();
  rig.mount();
  const pid_t reader = fork_reader(rig.path("data"), 5, 16 * kMiB);
  const int group = rig.link->header().group_fd[5];
  pollfd ready{group, POLLIN, 0};
  ASSERT_EQ(poll(&ready, 1, 5000), 1);
  JournalSlot& slot = rig.link->journal(5)[17];
  ASSERT_GT(read(group, slot.event.data(), slot.event.size()), 0);
  fanotify_event_metadata metadata;
  memcpy(&metadata, slot.event.data(), sizeof(metadata));
  close(metadata.fd);
  if (GetParam()) slot.segment = 5;  // else it died before it knew

  // The next worker: a door that has not seen the slot yet.
  rig.on_loop([&] { rig.door = std::move(FanotifyDoor::open(rig.context())).value(); });
  rig.attach_all();
  rig.start();
  int status = -1;
  ASSERT_EQ(waitpid(reader, &status, 0), reader);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(rig.counters().recovered, 1u);
  EXPECT_TRUE(slot.event == JournalSlot{}.event);
}

INSTANTIATE_TEST_SUITE_P(SegmentKnown, OldEventTest, testing::Bool());

}  // namespace
}  // namespace dedup::test
