#include "kernel/erofs_mount.h"

#include <sys/mount.h>

namespace dedup::test {

ErofsMount::~ErofsMount() {
  if (!x_target.empty()) unmount(x_target);
}

void unmount(const std::string& target) {
  if (umount2(target.c_str(), 0) != 0) umount2(target.c_str(), MNT_DETACH);
}

}  // namespace dedup::test
