// What a reader of a lazy EROFS mount sees, whatever door is behind it, on the real kernel.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
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

class DoorTest : public testing::TestWithParam<RigDoor> {
 protected:
  void SetUp() override { SKIP_WITHOUT_DOOR(GetParam()); }
};

TEST_P(DoorTest, ReadOfMissingDataGetsRightBytes) {
  DoorRig rig(one_file(), GetParam());
  rig.all();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, 300000 & ~7u), Read::kRight);
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 40 * kMiB + 4096, 4096), Read::kRight);
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 64 * kMiB - 8, 8), Read::kRight);
  EXPECT_GT(rig.counters().answered, 0u);
  EXPECT_EQ(rig.counters().denied, 0u);
}

TEST_P(DoorTest, MappedMissingDataGetsRightBytes) {
  DoorRig rig(one_file(), GetParam());
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

TEST_P(DoorTest, ProgramRunsWhileItsTextIsMissing) {
  std::ifstream file("/bin/true", std::ios::binary);
  const std::string program{std::istreambuf_iterator<char>(file), {}};
  ASSERT_FALSE(program.empty());
  DoorRig rig({{"true", 7, program.size(), program, 0755}}, GetParam());
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

TEST_P(DoorTest, FailedFetchIsEioForThatReadOnly) {
  DoorRig rig(one_file(), GetParam());
  rig.all();
  rig.filler->fail = true;
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 8 * kMiB, 4096), Read::kEio);
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 8 * kMiB, 4096), Read::kEio);
  rig.filler->fail = false;
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 8 * kMiB, 4096), Read::kRight);
  EXPECT_GE(rig.counters().denied, 2u);
}

TEST_P(DoorTest, MoreReadersThanJournalSlotsAllGetTheirData) {
  if (GetParam() == RigDoor::kCachefiles) GTEST_SKIP() << "the kernel keeps the journal";
  DoorRig rig(one_file(), GetParam(), 4);
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
  EXPECT_LE(rig.filler->most_at_once, 4u);
  EXPECT_GT(rig.filler->most_at_once, 1u);
}

TEST_P(DoorTest, SlowSegmentDoesNotHoldUpAnother) {
  DoorRig rig({{"fast", 6, kMiB}, {"slow", 5, kMiB}}, GetParam());
  rig.all();
  rig.filler->slow_segment = 5;
  rig.filler->delay_us = 3000000;
  const pid_t slow = fork_reader(rig.path("slow"), 5, 0);
  while (rig.filler->ensured == 0) std::this_thread::sleep_for(milliseconds(1));
  const auto begin = steady_clock::now();
  EXPECT_EQ(read_pattern(rig.path("fast"), 6, 0, kMiB), Read::kRight);
  EXPECT_LT(steady_clock::now() - begin, milliseconds(1500));
  int status = -1;
  EXPECT_EQ(waitpid(slow, &status, WNOHANG), 0);
  EXPECT_EQ(waitpid(slow, &status, 0), slow);
  EXPECT_EQ(status, 0);
}

TEST_P(DoorTest, ReaderKilledWhileItWaitsHarmsNobody) {
  DoorRig rig(one_file(), GetParam());
  rig.all();
  rig.filler->delay_us = 2000000;
  const pid_t reader = fork_reader(rig.path("data"), 5, 0);
  while (rig.filler->ensured == 0) std::this_thread::sleep_for(milliseconds(1));
  const pid_t other = fork_reader(rig.path("data"), 5, 0);
  std::this_thread::sleep_for(milliseconds(100));
  const auto begin = steady_clock::now();
  kill(reader, SIGKILL);
  ASSERT_EQ(waitpid(reader, nullptr, 0), reader);
  EXPECT_LT(steady_clock::now() - begin, milliseconds(1000));
  int status = -1;
  ASSERT_EQ(waitpid(other, &status, 0), other);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, 4096), Read::kRight);
}

TEST_P(DoorTest, ManyReadersOfOneMissingPageAllGetIt) {
  DoorRig rig(one_file(), GetParam());
  rig.all();
  rig.filler->delay_us = 100000;
  std::vector<pid_t> readers;
  for (int i = 0; i < 64; ++i) readers.push_back(fork_reader(rig.path("data"), 5, 9 * kMiB));
  for (const pid_t reader : readers) {
    int status = -1;
    ASSERT_EQ(waitpid(reader, &status, 0), reader);
    EXPECT_EQ(status, 0);
  }
}

TEST_P(DoorTest, SlowRangeDoesNotHoldUpAnotherOfItsSegment) {
  DoorRig rig(one_file(), GetParam());
  rig.all();
  ASSERT_EQ(read_pattern(rig.path("data"), 5, 0, kMiB), Read::kRight);
  const UniqueFd fd(open(rig.path("data").c_str(), O_RDONLY | O_CLOEXEC));
  posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  rig.filler->delay_us = 3000000;
  rig.filler->ensured = 0;
  const pid_t slow = fork_reader(rig.path("data"), 5, 32 * kMiB);
  while (rig.filler->ensured == 0) std::this_thread::sleep_for(milliseconds(1));
  const auto begin = steady_clock::now();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, kMiB / 2), Read::kRight);
  EXPECT_LT(steady_clock::now() - begin, milliseconds(1500));
  int status = -1;
  EXPECT_EQ(waitpid(slow, &status, WNOHANG), 0);
  EXPECT_EQ(waitpid(slow, &status, 0), slow);
  EXPECT_EQ(status, 0);
}

TEST_P(DoorTest, UnmountedAndDetachedSegmentCanComeBack) {
  DoorRig rig(one_file(), GetParam());
  rig.all();
  ASSERT_EQ(read_pattern(rig.path("data"), 5, 0, kMiB), Read::kRight);
  rig.mounted.reset();
  rig.on_loop([&] { EXPECT_TRUE(rig.door->detach(5).ok()); });
  EXPECT_EQ(rig.door->attached(), 0u);
  rig.attach_all();
  rig.mount();
  EXPECT_EQ(read_pattern(rig.path("data"), 5, 0, 2 * kMiB), Read::kRight);
}

INSTANTIATE_TEST_SUITE_P(, DoorTest, testing::ValuesIn(kRigDoors),
                         [](const auto& test) { return std::string(name_of(test.param)); });

}  // namespace
}  // namespace dedup::test
