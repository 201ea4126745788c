// The fail-closed guard against the real kernel: every holder of the fanotify groups is killed
// while readers wait and before others come. With the guard they are killed and see nothing;
// without it the same readers see zeros.
#include "doors/guard.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "doors/erofs_mount.h"
#include "doors/fanotify_door.h"
#include "doors/fanotify_group.h"
#include "doors/guard_holder.h"
#include "doors/process_id.h"
#include "kernel/door_rig.h"

namespace dedup::test {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kMiB = 1 << 20;
constexpr uint32_t kSegment = 5;
constexpr size_t kPage = 4096;

// What a reader has seen, written by it right after the read.
enum class Seen : int { kNothing, kRight, kWrong, kError };
struct Board {
  std::atomic<int> ready{0};
  std::atomic<Seen> seen[16] = {};
};

// In device-slot order.
std::vector<std::string> devices_of(const LazyImage& image) {
  std::vector<std::string> paths;
  for (const uint32_t segment : image.segments()) paths.push_back(image.segment_path(segment));
  return paths;
}

template <typename T>
T* shared() {
  void* memory =
      mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return new (memory) T();
}

template <typename Condition>
bool wait_for(Condition condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return false;
}

bool waits_in_fanotify(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/wchan");
  std::string name;
  return file >> name && name.starts_with("fanotify");
}

enum class How : uint8_t { kPread, kMapped, kSendfile };
constexpr How kHows[] = {How::kPread, How::kMapped, How::kSendfile};

Seen verdict(std::span<const std::byte> bytes, uint64_t offset) {
  return first_wrong(kSegment, offset, bytes) == bytes.size() ? Seen::kRight : Seen::kWrong;
}

Seen read_one(const std::string& path, How how, uint64_t offset) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Seen::kError;
  posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM);
  auto position = static_cast<off_t>(offset);
  std::array<std::byte, kPage> page{};
  switch (how) {
    case How::kPread:
      if (pread(fd.get(), page.data(), kPage, position) != ssize_t{kPage}) return Seen::kError;
      return verdict(page, offset);
    case How::kMapped: {
      void* memory = mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd.get(), position);
      if (memory == MAP_FAILED) return Seen::kError;
      return verdict({static_cast<const std::byte*>(memory), kPage}, offset);
    }
    case How::kSendfile:
      break;
  }
  return Seen::kError;
}

struct Reader {
  pid_t pid;
  size_t at;
  UniqueFd received;  // sendfile: the other end
};

// Keeper and worker in one: two processes that hold a group with a marked, missing segment behind a
// mount, and answer nothing.
class Holders {
 public:
  Holders(const LazyImage& image, const std::string& root, bool guarded, bool directio)
      : x_ready(shared<std::atomic<int>>()), x_pids(shared<std::array<std::atomic<pid_t>, 2>>()) {
    x_child = fork();
    if (x_child == 0) be_first(image, root, guarded, directio);
    wait_for([&] { return *x_ready != 0; });
  }
  ~Holders() { kill_both(); }

  bool ready() const { return *x_ready == 1; }
  void kill_one() { kill((*x_pids)[1], SIGKILL); }
  // Its parent is dead then and somebody else reaps it.
  void kill_both() {
    if (x_child <= 0) return;
    kill(x_child, SIGKILL);
    waitpid(x_child, nullptr, 0);
    kill_one();
    wait_for([&] { return start_ticks_of((*x_pids)[1]) == 0; });
    x_child = -1;
  }

 private:
  [[noreturn]] void be_first(const LazyImage& image, const std::string& root, bool guarded,
                             bool directio) {
    auto link = KeptLink::standalone();
    auto segment = image.open_segment(kSegment);
    if (!link.ok() || !segment.ok()) fail("start");
    KeptHeader& header = (*link)->header();
    if (!add_pre_access_mark(header.group_fd[0], segment->get()).ok()) fail("mark");
    if (!mount_erofs(image.image(), devices_of(image), image.mount_point(), directio).ok())
      fail("mount");
    const pid_t second = fork();
    if (second == 0) {
      for (;;) pause();
    }
    (*x_pids)[0] = getpid();
    (*x_pids)[1] = second;
    record(header.worker, getpid());
    record(header.keeper, second);
    Log log(2, LogLevel::kError);
    std::unique_ptr<Guard> guard;
    if (guarded) {
      auto opened = Guard::open(guard_directory(root), header, log);
      if (!opened.ok()) fail(opened.error().to_string());
      if (!(*opened)->arm(image.mount_point()).ok()) fail("arm");
      guard = std::move(*opened);
    }
    *x_ready = 1;
    for (;;) pause();
  }
  [[noreturn]] void fail(const std::string& what) {
    std::fprintf(stderr, "holder: %s\n", what.c_str());
    *x_ready = 2;
    for (;;) pause();
  }

  std::atomic<int>* x_ready;
  std::array<std::atomic<pid_t>, 2>* x_pids;
  pid_t x_child = -1;
};

struct Setting {
  bool guarded;
  bool directio;
};

class GuardTest : public testing::TestWithParam<Setting> {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_DOOR(RigDoor::kFanotify);
    KeptHeader header;
    header.life = 1;
    Log log(2, LogLevel::kError);
    const auto guard = Guard::open(guard_directory(x_scratch.path() + "/probe"), header, log);
    if (!guard.ok()) GTEST_SKIP() << guard.error().to_string();
    (*guard)->remove();
    auto image = LazyImage::create(x_scratch.path(), {{"data", kSegment, 64 * kMiB}});
    ASSERT_TRUE(image.ok()) << image.error().to_string();
    x_image.emplace(std::move(*image));
  }
  void TearDown() override {
    for (const Reader& reader : x_readers) kill(reader.pid, SIGKILL);
    if (x_image) (void)unmount_lazily(x_image->mount_point());
    std::error_code ignored;
    for (const char* root : {"", "/probe"})
      std::filesystem::remove_all(guard_directory(x_scratch.path() + root), ignored);
  }

  // Three of them, each in a place of its own.
  void start_readers() {
    for (const How how : kHows) {
      const size_t at = x_board_next++;
      int ends[2] = {-1, -1};
      ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
      const std::string path = x_image->mount_point() + "/data";
      const uint64_t offset = (4 + 4 * at) * kMiB;
      const pid_t child = fork();
      if (child == 0) {
        if (how == How::kSendfile) {
          const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
          auto position = static_cast<off_t>(offset);
          sendfile(ends[1], fd.get(), &position, kPage);
        } else {
          x_board->seen[at] = read_one(path, how, offset);
        }
        _exit(0);
      }
      ::close(ends[1]);
      x_readers.push_back({child, at, UniqueFd(ends[0])});
    }
  }

  bool all_wait() {
    return wait_for([&] {
      return std::ranges::all_of(
          x_readers, [](const Reader& reader) { return waits_in_fanotify(reader.pid); });
    });
  }

  struct Outcome {
    int killed = 0;
    int saw_holes = 0;
    int stuck = 0;
  };
  Outcome end_readers() {
    Outcome outcome;
    for (Reader& reader : x_readers) {
      int status = 0;
      if (!wait_for([&] { return waitpid(reader.pid, &status, WNOHANG) == reader.pid; })) {
        ++outcome.stuck;
        kill(reader.pid, SIGKILL);
        waitpid(reader.pid, &status, 0);
      }
      outcome.killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
      std::array<std::byte, kPage> bytes;
      const ssize_t got = recv(reader.received.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
      outcome.saw_holes += x_board->seen[reader.at] == Seen::kWrong || got > 0;
    }
    x_readers.clear();
    return outcome;
  }

  ScratchDirectory x_scratch;
  std::optional<LazyImage> x_image;
  Board* x_board = shared<Board>();
  size_t x_board_next = 0;
  std::vector<Reader> x_readers;
};

TEST_P(GuardTest, WhenTheLastHolderDiesReadersAreKilledBeforeTheySeeHoles) {
  Holders holders(*x_image, x_scratch.path(), GetParam().guarded, GetParam().directio);
  ASSERT_TRUE(holders.ready());
  start_readers();
  ASSERT_TRUE(all_wait());
  holders.kill_one();
  std::this_thread::sleep_for(milliseconds(100));
  ASSERT_TRUE(all_wait()) << "one holder is enough";
  holders.kill_both();
  const Outcome waiting = end_readers();
  start_readers();
  const Outcome later = end_readers();
  std::printf("guarded=%d directio=%d waiting: killed=%d holes=%d  later: killed=%d holes=%d\n",
              GetParam().guarded, GetParam().directio, waiting.killed, waiting.saw_holes,
              later.killed, later.saw_holes);
  EXPECT_EQ(waiting.stuck + later.stuck, 0);
  if (GetParam().guarded) {
    EXPECT_EQ(waiting.killed + later.killed, 6);
    EXPECT_EQ(waiting.saw_holes + later.saw_holes, 0);
  } else {
    EXPECT_EQ(waiting.killed + later.killed, 0);
    EXPECT_EQ(waiting.saw_holes + later.saw_holes, 6);
  }
}

std::string setting_name(const testing::TestParamInfo<Setting>& info) {
  return std::string(info.param.guarded ? "Guarded" : "Unguarded") +
         (info.param.directio ? "Directio" : "Buffered");
}
INSTANTIATE_TEST_SUITE_P(Mounts, GuardTest,
                         testing::Values(Setting{true, false}, Setting{true, true},
                                         Setting{false, false}, Setting{false, true}),
                         setting_name);

class GuardLifeTest : public GuardTest {};

// The next dedupd after a total loss: its mounts work, the old one stays closed until it is gone.
TEST_P(GuardLifeTest, NewLifeServesWhileTheOldOneStaysClosed) {
  UniqueFd old_file;
  {
    Holders holders(*x_image, x_scratch.path(), true, false);
    ASSERT_TRUE(holders.ready());
    old_file = UniqueFd(open((x_image->mount_point() + "/data").c_str(), O_RDONLY | O_CLOEXEC));
  }
  ASSERT_TRUE(unmount_lazily(x_image->mount_point()).ok());

  KeptHeader header;
  header.life = 2;
  record(header.worker, getpid());
  Log log(2, LogLevel::kError);
  auto guard = Guard::open(guard_directory(x_scratch.path()), header, log);
  ASSERT_TRUE(guard.ok()) << guard.error().to_string();
  EXPECT_EQ((*guard)->status().lost, 1u);
  ASSERT_TRUE(
      mount_erofs(x_image->image(), devices_of(*x_image), x_image->mount_point(), false).ok());
  ASSERT_TRUE((*guard)->arm(x_image->mount_point()).ok());
  // Nobody fills it here: what counts is that the reader lives.
  EXPECT_EQ(read_one(x_image->mount_point() + "/data", How::kPread, kMiB), Seen::kWrong);

  const pid_t old_reader = fork();
  if (old_reader == 0) {
    std::array<std::byte, kPage> page;
    _exit(pread(old_file.get(), page.data(), page.size(), 0) > 0 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(old_reader, &status, 0), old_reader);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;

  const auto armed = GuardLife::open(guard_directory(x_scratch.path()) + "/" + guard_life(2));
  ASSERT_TRUE(armed.ok());
  ASSERT_EQ(armed->armed().size(), 1u);
  (*guard)->forget(armed->armed()[0].uuid);
  EXPECT_EQ((*guard)->status().lost, 0u);
  EXPECT_EQ((*guard)->status().armed, 0u);
  (*guard)->remove();
  EXPECT_FALSE(std::filesystem::exists(guard_directory(x_scratch.path())));
}
INSTANTIATE_TEST_SUITE_P(Mounts, GuardLifeTest, testing::Values(Setting{true, false}),
                         setting_name);

}  // namespace
}  // namespace dedup::test
