#include "doors/guard_life.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/types.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

#include "bpf/guard.h"
#include "guard.skel.h"

namespace dedup {
namespace {

constexpr uint8_t kPresent = 1;
constexpr uint32_t kOnlyEntry = 0;

Error bpf_error(int number, const std::string& what) {
  Error error = errno_error(number, what);
  if (number == EPERM || number == EACCES) error.code = Errc::kDenied;
  if (number == ESRCH || number == EINVAL || number == ENOENT || number == ENOTSUP) {
    error.code = Errc::kUnsupported;
  }
  return error;
}

guard_mount key_of(const GuardedMount& mount) {
  guard_mount key{};
  key.device = mount.device;
  std::copy(mount.uuid.begin(), mount.uuid.end(), key.uuid);
  return key;
}

using Skeleton = std::unique_ptr<guard, void (*)(guard*)>;

Result<void> pin_all(guard& skeleton, const std::string& folder) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton.obj) {
    const std::string path = folder + "/" + bpf_map__name(map);
    if (const int status = bpf_map__pin(map, path.c_str()); status != 0)
      return bpf_error(-status, "pin " + path);
  }
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton.obj) {
    const std::string name = bpf_program__name(program);
    bpf_link* link = bpf_program__attach(program);
    if (link == nullptr) return bpf_error(errno, "attach " + name);
    const int status = bpf_link__pin(link, (folder + "/" + name).c_str());
    bpf_link__destroy(link);  // ours; the pin holds it
    if (status != 0) return bpf_error(-status, "pin " + name);
  }
  return {};
}

Result<UniqueFd> pinned(const std::string& path) {
  UniqueFd fd(bpf_obj_get(path.c_str()));
  if (!fd.valid()) return bpf_error(errno, path);
  return fd;
}

}  // namespace

Result<GuardLife> GuardLife::create(const std::string& folder) {
  libbpf_set_print(nullptr);
  const Skeleton skeleton(guard__open_and_load(), guard__destroy);
  if (skeleton == nullptr) return bpf_error(errno, "load the guard");
  const std::string unfinished = folder + kUnfinished;
  std::error_code status;
  std::filesystem::remove_all(unfinished, status);
  std::filesystem::create_directories(unfinished, status);
  if (status) return bpf_error(status.value(), unfinished);
  TRY(pin_all(*skeleton, unfinished));
  std::filesystem::rename(unfinished, folder, status);
  if (status) return bpf_error(status.value(), folder);
  return open(folder);
}

Result<GuardLife> GuardLife::open(const std::string& folder) {
  GuardLife life(folder);
  TRY(holders, pinned(folder + "/holders"));
  TRY(guarded, pinned(folder + "/guarded"));
  TRY(state, pinned(folder + "/state"));
  life.x_holders = std::move(holders);
  life.x_guarded = std::move(guarded);
  life.x_state = std::move(state);
  return life;
}

Result<void> GuardLife::enter_holder(int32_t pid) {
  if (bpf_map_update_elem(x_holders.get(), &pid, &kPresent, BPF_ANY) == 0) return {};
  return bpf_error(errno, "enter a holder");
}

bool GuardLife::has_holder(int32_t pid) const {
  uint8_t value = 0;
  return bpf_map_lookup_elem(x_holders.get(), &pid, &value) == 0;
}

void GuardLife::leave_holder(int32_t pid) {
  bpf_map_delete_elem(x_holders.get(), &pid);
}

Result<void> GuardLife::arm(const GuardedMount& mount) {
  const guard_mount key = key_of(mount);
  if (bpf_map_update_elem(x_guarded.get(), &key, &kPresent, BPF_ANY) == 0) return {};
  return bpf_error(errno, "arm the guard");
}

void GuardLife::disarm(const GuardedMount& mount) {
  const guard_mount key = key_of(mount);
  bpf_map_delete_elem(x_guarded.get(), &key);
}

std::vector<GuardedMount> GuardLife::armed() const {
  std::vector<GuardedMount> mounts;
  guard_mount key{};
  for (guard_mount* last = nullptr; bpf_map_get_next_key(x_guarded.get(), last, &key) == 0;
       last = &key) {
    GuardedMount& mount = mounts.emplace_back();
    mount.device = key.device;
    std::copy_n(key.uuid, mount.uuid.size(), mount.uuid.begin());
  }
  return mounts;
}

GuardLife::State GuardLife::state() const {
  guard_state value{};
  bpf_map_lookup_elem(x_state.get(), &kOnlyEntry, &value);
  return {value.dead != 0, value.killed};
}

Result<void> GuardLife::set_dead(bool dead) {
  guard_state value{};
  value.dead = dead ? 1 : 0;
  value.killed = state().killed;
  if (bpf_map_update_elem(x_state.get(), &kOnlyEntry, &value, BPF_ANY) == 0) return {};
  return bpf_error(errno, "set the guard");
}

void GuardLife::remove() {
  std::error_code ignored;
  std::filesystem::remove_all(x_folder, ignored);
  std::filesystem::remove(std::filesystem::path(x_folder).parent_path(), ignored);  // if empty
}

}  // namespace dedup
