#include "doors/guard.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "doors/guard_holder.h"
#include "doors/process_id.h"

namespace dedup {
namespace {

constexpr const char* kBpffs = "/sys/fs/bpf";
constexpr ino_t kFirstPidNamespace = 0xEFFFFFFC;  // PROC_PID_INIT_INO, kernel ABI

// FS_IOC_GETFSUUID of Linux 6.9, which the headers of Debian 12 do not have.
struct FsUuid {
  uint8_t length;
  uint8_t uuid[16];
};
constexpr unsigned long kGetFsUuid = _IOR(0x15, 0, FsUuid);

Result<void> need_bpffs() {
  struct statfs status {};
  if (statfs(kBpffs, &status) != 0) {
    return make_error(Errc::kUnsupported, std::string("no ") + kBpffs);
  }
  if (static_cast<unsigned long>(status.f_type) == BPF_FS_MAGIC) return {};
  if (mount("bpf", kBpffs, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") == 0) return {};
  return errno_error(errno, std::string("mount bpffs on ") + kBpffs);
}

// The programs see pids of the first namespace.
Result<void> need_first_pid_namespace() {
  struct stat status {};
  if (stat("/proc/self/ns/pid", &status) == 0 && status.st_ino == kFirstPidNamespace) return {};
  return make_error(Errc::kUnsupported, "dedupd does not run in the first pid namespace");
}

Result<GuardedMount> guarded_mount(const std::string& mountpoint) {
  const UniqueFd fd(open(mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat status {};
  FsUuid uuid{};
  if (!fd.valid() || fstat(fd.get(), &status) != 0 || ioctl(fd.get(), kGetFsUuid, &uuid) != 0) {
    return errno_error(errno, mountpoint);
  }
  GuardedMount mount;
  mount.device = (major(status.st_dev) << 20) | minor(status.st_dev);
  std::copy_n(uuid.uuid, mount.uuid.size(), mount.uuid.begin());
  return mount;
}

// Guards of earlier lives. Their groups are gone, whatever they say themselves.
std::vector<GuardLife> lost_lives(const std::string& directory, const std::string& present) {
  std::vector<GuardLife> lives;
  std::error_code ignored;
  std::vector<std::string> folders;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
    if (entry.path() != present) folders.push_back(entry.path());
  }
  for (const std::string& folder : folders) {
    auto life = GuardLife::open(folder);
    if (life.ok() && !folder.ends_with(GuardLife::kUnfinished) && life->set_dead(true).ok()) {
      lives.push_back(std::move(*life));
    } else {
      std::filesystem::remove_all(folder, ignored);
    }
  }
  return lives;
}

// Of every root of this node.
template <typename Action>
void for_all_lives(Action action) {
  std::error_code ignored;
  for (const auto& root : std::filesystem::directory_iterator(kGuardBase, ignored)) {
    for (const auto& folder : std::filesystem::directory_iterator(root.path(), ignored)) {
      auto life = GuardLife::open(folder.path());
      if (life.ok()) action(*life);
    }
  }
}

}  // namespace

Result<std::unique_ptr<Guard>> Guard::open(std::string directory, const KeptHeader& header,
                                           Log& log) {
  TRY(need_first_pid_namespace());
  TRY(need_bpffs());
  const std::string folder = directory + "/" + guard_life(header.life);
  auto life = GuardLife::open(folder);
  if (!life.ok()) life = GuardLife::create(folder);
  if (!life.ok()) return std::move(life).error();
  std::unique_ptr<Guard> guard(
      new Guard(std::move(*life), lost_lives(directory, folder), header, log));
  guard->drop_empty_lives();
  guard->refresh();
  return guard;
}

Result<void> Guard::arm(const std::string& mountpoint) {
  TRY(mount, guarded_mount(mountpoint));
  // It exists, so the superblock that had its number before does not: whichever dedupd guarded it.
  for_all_lives([&](GuardLife& life) { life.disarm(mount); });
  drop_empty_lives();
  return x_life.arm(mount);
}

void Guard::disarm(const ImageUuid& image) {
  for (const GuardedMount& mount : x_life.armed()) {
    if (mount.uuid == image) x_life.disarm(mount);
  }
}

void Guard::forget(const ImageUuid& image) {
  disarm(image);
  for (GuardLife& life : x_lost) {
    for (const GuardedMount& mount : life.armed()) {
      if (mount.uuid == image) life.disarm(mount);
    }
  }
  drop_empty_lives();
}

void Guard::keep_only(const std::set<ImageUuid>& images) {
  for (const GuardedMount& mount : x_life.armed()) {
    if (!images.contains(mount.uuid)) x_life.disarm(mount);
  }
}

void Guard::drop_empty_lives() {
  std::erase_if(x_lost, [](GuardLife& life) {
    if (!life.armed().empty()) return false;
    life.remove();
    return true;
  });
}

void Guard::refresh() {
  for (const KeptProcess* process : {&x_header.keeper, &x_header.witness, &x_header.worker}) {
    enter(*process);
  }
  // The groups are held, and in this life they always were: by a holder that was entered too late,
  // or by the service manager.
  if (x_life.state().dead && x_life.set_dead(false).ok()) {
    x_log.warn("the guard had closed the door although the groups were held; open again");
  }
}

void Guard::enter(const KeptProcess& process) {
  const int32_t pid = process.pid.load();
  if (!alive(process) || x_life.has_holder(pid)) return;
  if (!x_life.enter_holder(pid).ok() || alive(process)) return;
  x_life.leave_holder(pid);  // it died before it was entered, and nothing else strikes it out
}

void Guard::remove() {
  x_life.remove();
}

Guard::Status Guard::status() const {
  Status status{x_life.armed().size(), 0, x_life.state().killed};
  for (const GuardLife& life : x_lost) status.lost += life.armed().size();
  return status;
}

}  // namespace dedup
