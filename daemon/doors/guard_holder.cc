#include "doors/guard_holder.h"

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "base/bytes.h"
#include "base/digest.h"
#include "base/unique_fd.h"

namespace dedup {
namespace {

constexpr size_t kRootHashDigits = 16;

// Not libbpf: it allocates.
void change(const char* holders_map, int command, pid_t pid) {
  if (*holders_map == '\0' || pid <= 0) return;
  bpf_attr get;
  std::memset(&get, 0, sizeof(get));
  get.pathname = reinterpret_cast<uintptr_t>(holders_map);
  const UniqueFd map(static_cast<int>(syscall(SYS_bpf, BPF_OBJ_GET, &get, sizeof(get))));
  if (!map.valid()) return;
  const auto key = static_cast<uint32_t>(pid);
  const uint8_t value = 1;
  bpf_attr element;
  std::memset(&element, 0, sizeof(element));
  element.map_fd = static_cast<uint32_t>(map.get());
  element.key = reinterpret_cast<uintptr_t>(&key);
  element.value = reinterpret_cast<uintptr_t>(&value);
  syscall(SYS_bpf, command, &element, sizeof(element));
}

}  // namespace

std::string guard_directory(const std::string& root) {
  Sha256 hash;
  hash.update(as_bytes(root));
  return std::string(kGuardBase) + "/" + hash.finish().hex().substr(0, kRootHashDigits);
}

std::string guard_life(uint64_t life) {
  std::array<char, 17> text;
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(life));
  return text.data();
}

std::string guard_holders_map(const std::string& directory, uint64_t life) {
  return directory.empty() ? "" : directory + "/" + guard_life(life) + "/holders";
}

void enter_guard_holder(const char* holders_map, pid_t pid) {
  change(holders_map, BPF_MAP_UPDATE_ELEM, pid);
}

void leave_guard_holder(const char* holders_map, pid_t pid) {
  change(holders_map, BPF_MAP_DELETE_ELEM, pid);
}

}  // namespace dedup
