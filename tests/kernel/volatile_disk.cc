// volatile_disk: a disk with a volatile write cache, for power cuts: a FUSE file system with one
// file, "disk". What is written stays in memory until a flush (fsync of the file, which a loop
// device sends for every flush of its own). SIGUSR1 is the power cut: of the blocks not flushed a
// random half reaches the backing file, the rest is lost, and every request after it fails.
//   volatile_disk BACKING MOUNTPOINT [SEED]     runs in the foreground until it is unmounted
#define FUSE_USE_VERSION 35
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <thread>

namespace {

constexpr size_t kBlockBytes = 4096;
constexpr const char* kDiskPath = "/disk";
using Block = std::array<char, kBlockBytes>;

// Requests come one at a time (-s), but for the cut, which a thread of its own takes: hence the
// lock.
class Disk {
 public:
  Disk(int fd, uint64_t bytes, unsigned seed) : x_fd(fd), x_bytes(bytes), x_random(seed) {}

  uint64_t bytes() const { return x_bytes; }

  int read(char* out, size_t length, uint64_t offset) {
    const std::scoped_lock lock(x_mutex);
    if (x_cut) return -EIO;
    if (offset >= x_bytes) return 0;
    length = std::min<uint64_t>(length, x_bytes - offset);
    if (::pread(x_fd, out, length, static_cast<off_t>(offset)) != static_cast<ssize_t>(length))
      return -EIO;
    auto at = x_cache.lower_bound(offset / kBlockBytes);
    for (; at != x_cache.end() && at->first * kBlockBytes < offset + length; ++at) {
      const uint64_t from = std::max(offset, at->first * kBlockBytes);
      const uint64_t to = std::min(offset + length, (at->first + 1) * kBlockBytes);
      std::memcpy(out + (from - offset), at->second.data() + (from - at->first * kBlockBytes),
                  to - from);
    }
    return static_cast<int>(length);
  }

  int write(const char* data, size_t length, uint64_t offset) {
    const std::scoped_lock lock(x_mutex);
    if (x_cut) return -EIO;
    if (offset + length > x_bytes) return -ENOSPC;
    for (size_t done = 0; done < length;) {
      const uint64_t number = (offset + done) / kBlockBytes;
      const size_t within = (offset + done) % kBlockBytes;
      const size_t part = std::min(kBlockBytes - within, length - done);
      std::memcpy(block(number).data() + within, data + done, part);
      done += part;
    }
    return static_cast<int>(length);
  }

  int flush() {
    const std::scoped_lock lock(x_mutex);
    if (x_cut) return -EIO;
    for (const auto& [number, data] : x_cache) store(number, data);
    x_cache.clear();
    ++x_flushes;
    return 0;
  }

  void cut() {
    const std::scoped_lock lock(x_mutex);
    x_cut = true;
    size_t lost = 0;
    for (const auto& [number, data] : x_cache) {
      if (x_random() % 2 == 0) {
        store(number, data);
      } else {
        ++lost;
      }
    }
    std::printf("cut: %zu of %zu unflushed blocks lost, %llu flushes before\n", lost,
                x_cache.size(), static_cast<unsigned long long>(x_flushes));
    std::fflush(stdout);
    x_cache.clear();
  }

 private:
  Block& block(uint64_t number) {
    const auto [at, fresh] = x_cache.try_emplace(number);
    if (fresh &&
        ::pread(x_fd, at->second.data(), kBlockBytes, static_cast<off_t>(number * kBlockBytes)) < 0)
      std::abort();
    return at->second;
  }
  void store(uint64_t number, const Block& data) {
    if (::pwrite(x_fd, data.data(), data.size(), static_cast<off_t>(number * kBlockBytes)) !=
        static_cast<ssize_t>(data.size()))
      std::abort();  // the test's own disk is full: nothing it shows would count
  }

  const int x_fd;
  const uint64_t x_bytes;
  std::mt19937 x_random;
  std::mutex x_mutex;
  std::map<uint64_t, Block> x_cache;  // by block number
  uint64_t x_flushes = 0;
  bool x_cut = false;
};

Disk& disk() {
  return *static_cast<Disk*>(fuse_get_context()->private_data);
}

int get_attributes(const char* path, struct stat* status, fuse_file_info*) {
  *status = {};
  if (std::strcmp(path, "/") == 0) {
    status->st_mode = S_IFDIR | 0755;
    status->st_nlink = 2;
    return 0;
  }
  if (std::strcmp(path, kDiskPath) != 0) return -ENOENT;
  status->st_mode = S_IFREG | 0600;
  status->st_nlink = 1;
  status->st_size = static_cast<off_t>(disk().bytes());
  return 0;
}

int open_file(const char* path, fuse_file_info*) {
  return std::strcmp(path, kDiskPath) == 0 ? 0 : -ENOENT;
}
int read_file(const char*, char* out, size_t length, off_t offset, fuse_file_info*) {
  return disk().read(out, length, static_cast<uint64_t>(offset));
}
int write_file(const char*, const char* data, size_t length, off_t offset, fuse_file_info*) {
  return disk().write(data, length, static_cast<uint64_t>(offset));
}
int sync_file(const char*, int, fuse_file_info*) {
  return disk().flush();
}

void wait_for_the_cut(Disk* disk) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  int number = 0;
  if (sigwait(&signals, &number) == 0) disk->cut();
}

}  // namespace

int main(int argc, char** argv) {
  const int fd = argc >= 3 ? ::open(argv[1], O_RDWR | O_CLOEXEC) : -1;
  struct stat status {};
  if (fd < 0 || ::fstat(fd, &status) != 0) {
    std::fprintf(stderr, "usage: volatile_disk BACKING MOUNTPOINT [SEED]\n");
    return 2;
  }
  Disk disk(fd, static_cast<uint64_t>(status.st_size),
            argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : 1);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  std::thread(wait_for_the_cut, &disk).detach();

  fuse_operations operations{};
  operations.getattr = get_attributes;
  operations.open = open_file;
  operations.read = read_file;
  operations.write = write_file;
  operations.fsync = sync_file;
  char program[] = "volatile_disk";
  char foreground[] = "-f";
  char single[] = "-s";
  char* arguments[] = {program, foreground, single, argv[2], nullptr};
  return fuse_main(4, arguments, &operations, &disk);
}
