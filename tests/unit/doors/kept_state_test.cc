#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "doors/kept_mapping.h"

namespace dedup {
namespace {

UniqueFd copy_of(int fd) {
  return UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

TEST(KeptMapping, NextWorkerSeesWhatTheLastOneWrote) {
  auto made = KeptMapping::create();
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->header().group_fd[kGroupCount - 1], -1);
  EXPECT_EQ(made->segments()[kMaxKeptSegments - 1].fd, -1);
  made->journal(kGroupCount - 1)[kSlotsPerGroup - 1].segment = 7;
  made->fuse_journal()[kFuseSlots - 1].request.back() = std::byte{9};
  auto attached = KeptMapping::attach(copy_of(made->fd()));
  ASSERT_TRUE(attached.ok());
  EXPECT_EQ(attached->journal(kGroupCount - 1)[kSlotsPerGroup - 1].segment, 7u);
  EXPECT_EQ(attached->journal(0)[0].segment, 0u);
  EXPECT_EQ(attached->fuse_journal()[kFuseSlots - 1].request.back(), std::byte{9});
  EXPECT_EQ(attached->fuse_journal()[0].request.front(), std::byte{0});
}

TEST(KeptMapping, StateOfAnotherLayoutIsRefused) {
  auto made = KeptMapping::create();
  ASSERT_TRUE(made.ok());
  made->header().version = 99;
  EXPECT_FALSE(KeptMapping::attach(copy_of(made->fd())).ok());
  UniqueFd other(memfd_create("other", MFD_CLOEXEC));
  EXPECT_FALSE(KeptMapping::attach(std::move(other)).ok());
}

}  // namespace
}  // namespace dedup
