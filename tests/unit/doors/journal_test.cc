#include "doors/journal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <set>

#include "doors/fanotify_abi.h"
#include "doors/old_numbers.h"

namespace dedup {
namespace {

void put_event(JournalSlot& slot, int fd) {
  fanotify_event_metadata metadata{};
  metadata.event_len = sizeof(metadata);
  metadata.vers = FANOTIFY_METADATA_VERSION;
  metadata.metadata_len = sizeof(metadata);
  metadata.fd = fd;
  std::memcpy(slot.event.data(), &metadata, sizeof(metadata));
}

TEST(Journal, EverySlotOnceThenNone) {
  std::vector<JournalSlot> slots(8);
  Journal journal(slots);
  std::set<JournalSlot*> taken;
  while (JournalSlot* slot = journal.take()) taken.insert(slot);
  EXPECT_EQ(taken.size(), 8u);
  journal.give_back(*taken.begin());
  EXPECT_EQ(journal.take(), *taken.begin());
  EXPECT_EQ(journal.take(), nullptr);
}

TEST(Journal, EventOfADeadWorkerIsNotOverwritten) {
  std::vector<JournalSlot> slots(4);
  put_event(slots[2], 9);
  Journal journal(slots);
  EXPECT_EQ(journal.free_slots(), 3u);
  while (JournalSlot* slot = journal.take()) EXPECT_NE(slot, &slots[2]);
  journal.give_back(&slots[2]);
  EXPECT_EQ(journal.take(), &slots[2]);
}

// The worker died while it gave the slot back: event_len is gone, the rest is not.
TEST(Journal, LeftoversOfADeadWorkerDoNotReachTheNextEvent) {
  std::vector<JournalSlot> slots(1);
  slots[0].segment = 77;
  slots[0].event.back() = std::byte{1};
  Journal journal(slots);
  JournalSlot* slot = journal.take();
  ASSERT_NE(slot, nullptr);
  EXPECT_EQ(slot->segment, 0u);
  EXPECT_EQ(slot->event, JournalSlot{}.event);
}

// The same for FUSE: a request begins with its length, too.
TEST(FuseJournal, RequestOfADeadWorkerIsNotOverwritten) {
  std::vector<FuseSlot> slots(2);
  slots[0].request[0] = std::byte{80};
  slots[1].request[100] = std::byte{1};  // no length: given back half
  FuseJournal journal(slots);
  EXPECT_TRUE(FuseJournal::in_use(slots[0]));
  EXPECT_EQ(journal.take(), &slots[1]);
  EXPECT_EQ(slots[1].request, FuseSlot{}.request);
  EXPECT_EQ(journal.take(), nullptr);
  journal.give_back(&slots[0]);
  EXPECT_FALSE(FuseJournal::in_use(slots[0]));
  EXPECT_EQ(journal.take(), &slots[0]);
}

int open_null() {
  return open("/dev/null", O_RDONLY | O_CLOEXEC);
}
bool is_open(int fd) {
  return fcntl(fd, F_GETFD) >= 0;
}

class OldNumbersTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = OldNumbers::open();
    ASSERT_TRUE(opened.ok());
    numbers = std::move(opened).value();
  }
  OldNumbers numbers;
  std::vector<JournalSlot> slots = std::vector<JournalSlot>(4);
};

// The failure this prevents: the kernel hands the number out again, and the answer to the new event
// releases the reader of the old one.
TEST_F(OldNumbersTest, NumberIsNotHandedOutUntilReleased) {
  const int number = open_null();
  close(number);  // the lowest free one: the next open would get it
  put_event(slots[1], number);
  numbers.occupy(slots);
  EXPECT_TRUE(is_open(number));
  const UniqueFd other(open_null());
  EXPECT_NE(other.get(), number);
  numbers.release(number);
  EXPECT_FALSE(is_open(number));
  EXPECT_EQ(numbers.size(), 0u);
}

TEST_F(OldNumbersTest, InheritedFdWithThatNumberStaysAndIsNotClosed) {
  const UniqueFd inherited(open_null());
  put_event(slots[0], inherited.get());
  numbers.occupy(slots);
  numbers.release(inherited.get());
  EXPECT_TRUE(is_open(inherited.get()));
}

TEST_F(OldNumbersTest, RetiringAnInheritedFdKeepsItsOldNumber) {
  const int inherited = open_null();
  put_event(slots[0], inherited);
  numbers.occupy(slots);
  numbers.retire(inherited);
  EXPECT_TRUE(is_open(inherited));
  numbers.release(inherited);
  EXPECT_FALSE(is_open(inherited));
}

TEST_F(OldNumbersTest, RetiringAnOrdinaryFdClosesIt) {
  const int inherited = open_null();
  numbers.occupy(slots);
  numbers.retire(inherited);
  EXPECT_FALSE(is_open(inherited));
}

TEST_F(OldNumbersTest, DamagedSlotIsSkipped) {
  slots[0].event[0] = std::byte{255};
  numbers.occupy(slots);
  EXPECT_EQ(numbers.size(), 0u);
}

}  // namespace
}  // namespace dedup
