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

class FanotifyDoorTest : public testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_DOOR(RigDoor::kFanotify); }
};

TEST_F(FanotifyDoorTest, WithoutTheMarkTheSameReadIsZeros) {
  DoorRig rig(one_file());
  rig.open_door();
  rig.start();
  rig.mount();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, 4096), Read::kWrong);
}

TEST_F(FanotifyDoorTest, ProbeFindsTheEventAndFetchesNothing) {
  DoorRig rig(one_file());
  rig.all();
  const auto probed = rig.probe("data", 12 * kMiB, 5);
  EXPECT_TRUE(probed.ok()) << probed.error().to_string();
  EXPECT_EQ(rig.filler->ensured, 0u);
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 12 * kMiB, 4096), Read::kRight);
}

// As when images that share a layer are mounted together: whose event is whose cannot be seen.
TEST_F(FanotifyDoorTest, ProbesOfOnePageAtTheSameTimeAllFindTheEvent) {
  DoorRig rig(one_file());
  rig.all();
  const std::string path = rig.path("data");
  unsigned found = 0;
  const auto probe = [&]() -> Task<void> {
    const auto probed = co_await rig.door->probe(path, 12 * kMiB, 5, 12 * kMiB);
    found += probed.ok() ? 1 : 0;
  };
  const auto probe_four_times = [&]() -> Task<void> {
    TaskScope probes;
    for (int i = 0; i < 4; ++i) probes.spawn(probe());
    co_await probes.join();
  };
  for (int round = 0; round < 10; ++round) block_on(*rig.ring, probe_four_times());
  EXPECT_EQ(found, 40u);
  EXPECT_EQ(rig.filler->ensured, 0u);
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
  rig.on_loop(
      [&] { rig.door = std::move(open_rig_door(RigDoor::kFanotify, rig.context())).value(); });
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
