#include "kernel/access_rig.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "doors/erofs_mount.h"
#include "doors/erofs_support.h"
#include "doors/loop_device.h"
#include "pool/files.h"

namespace dedup::test {
namespace {

constexpr uint64_t kHugePage = 2 << 20;

UniqueFd open_for(const std::string& path, Readahead readahead) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (readahead == Readahead::kNone) posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM);
  return fd;
}

}  // namespace

TestCgroup::TestCgroup(CgroupHierarchy hierarchy, const std::string& name) {
  auto parent = cgroup_of_process(getpid(), hierarchy);
  if (!parent.ok()) return;
  const std::string path = *parent + "/dedup-test-" + std::to_string(getpid()) + "-" + name;
  if (mkdir(path.c_str(), 0755) == 0) x_path = path;
}

TestCgroup::~TestCgroup() {
  if (valid()) rmdir(x_path.c_str());
}

bool TestCgroup::run(const std::function<bool()>& work) const {
  const pid_t child = fork();
  if (child == 0) {
    std::ofstream procs(x_path + "/cgroup.procs");
    procs << getpid() << std::flush;
    _exit(procs.good() && work() ? 0 : 1);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

namespace {

// The mount keeps the loop devices, where the kernel needs some.
Result<void> mount_files(const TempDir& dir, std::string image, std::vector<std::string> devices,
                         const std::string& mountpoint) {
  const std::string empty = dir.path() + "/empty";
  TRY(made, open_file(empty, O_RDWR | O_CREAT));
  TRY(backing, erofs_backing(empty));
  std::vector<LoopDevice> loops;
  const auto through_loop = [&loops](std::string& path) -> Result<void> {
    TRY(file, open_file(path, O_RDONLY));
    TRY(loop, LoopDevice::over(file.get(), LoopReads::kCached));
    path = loop.path();
    loops.push_back(std::move(loop));
    return {};
  };
  if (backing == ErofsBacking::kBlockDevice) {
    TRY(through_loop(image));
    for (std::string& device : devices) TRY(through_loop(device));
  }
  return mount_erofs(image, devices, mountpoint, false);
}

}  // namespace

RecordedImage::RecordedImage(const std::map<std::string, uint64_t>& files) {
  TreeMaker layers[2];
  size_t number = 0;
  for (const auto& [name, bytes] : files) {
    x_files.push_back(name);
    const auto segment = static_cast<uint32_t>(1 + number % 2);
    TreeMaker& layer = layers[number++ % 2];
    const InodeIndex inode = layer.file(name, bytes);
    for (uint64_t at = 0; at < bytes; at += kDefaultChunkBytes) {
      const uint64_t length = std::min<uint64_t>(kDefaultChunkBytes, bytes - at);
      layer.extent(inode, at, length, x_segments.fill(segment, length));
    }
  }
  auto tree = merge_layers({layers[0].finish(), layers[1].finish()}, Whiteouts::kApply);
  x_options = erofs_options(x_segments);
  x_tree = std::move(*tree);
  const auto image = write_image(x_tree, x_options, x_dir);
  x_mountpoint = x_dir.path() + "/mnt";
  mkdir(x_mountpoint.c_str(), 0755);
  std::vector<std::string> devices;
  for (const uint32_t segment : image->image.devices) devices.push_back(x_segments.path(segment));
  const auto mounted = mount_files(x_dir, image->path, devices, x_mountpoint);
  if (!mounted.ok()) x_missing = mounted.error().to_string();
}

RecordedImage::~RecordedImage() {
  if (x_missing.empty() && !unmount(x_mountpoint).ok()) (void)unmount_lazily(x_mountpoint);
}

uint64_t RecordedImage::inode(const std::string& file) const {
  struct stat status {};
  return stat(path(file).c_str(), &status) == 0 ? status.st_ino : 0;
}

void RecordedImage::drop_cache() const {
  for (const std::string& file : x_files) {
    const UniqueFd fd(open(path(file).c_str(), O_RDONLY | O_CLOEXEC));
    posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  }
}

bool read_range(const std::string& path, ByteRange range, Readahead readahead) {
  const UniqueFd fd = open_for(path, readahead);
  std::vector<std::byte> buffer(range.length);
  return pread(fd.get(), buffer.data(), buffer.size(), static_cast<off_t>(range.offset)) ==
         static_cast<ssize_t>(buffer.size());
}

bool send_range(const std::string& path, ByteRange range) {
  const UniqueFd fd = open_for(path, Readahead::kNone);
  int ends[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return false;
  const UniqueFd in(ends[0]);
  const UniqueFd out(ends[1]);
  auto position = static_cast<off_t>(range.offset);
  return sendfile(in.get(), fd.get(), &position, range.length) ==
         static_cast<ssize_t>(range.length);
}

bool touch_mapped(const std::string& path, const std::vector<uint64_t>& pages,
                  Readahead readahead) {
  const UniqueFd fd = open_for(path, readahead);
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return false;
  const auto bytes = static_cast<size_t>(status.st_size);
  void* space = mmap(nullptr, bytes + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* aligned = reinterpret_cast<char*>(round_up(reinterpret_cast<uintptr_t>(space), kHugePage));
  if (mmap(aligned, bytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd.get(), 0) == MAP_FAILED)
    return false;
  // Whether faults read around themselves is the mapping's own affair.
  if (readahead == Readahead::kNone) madvise(aligned, bytes, MADV_RANDOM);
  for (const uint64_t page : pages)
    static_cast<void>(*static_cast<volatile char*>(aligned + page * kPageBytes));
  return true;
}

std::vector<uint64_t> pages_of(const std::vector<PageRun>& runs, uint64_t inode) {
  std::vector<uint64_t> pages;
  for (const PageRun& run : runs) {
    if (run.inode != inode) continue;
    for (uint64_t at = run.range.offset; at < run.range.end(); at += kPageBytes)
      pages.push_back(at / kPageBytes);
  }
  return pages;
}

}  // namespace dedup::test
