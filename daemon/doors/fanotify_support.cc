// FanotifyDoor::supported: asks the kernel itself, feature by feature.
#include <cerrno>
#include <vector>

#include "doors/erofs_support.h"
#include "doors/fanotify_door.h"
#include "doors/fanotify_group.h"

namespace dedup {
namespace {

// What is missing for an EROFS mount whose image is a regular file; empty: nothing.
std::string missing_erofs(const std::string& path) {
  const auto backing = erofs_backing(path);
  if (!backing.ok()) return backing.error().context;
  return *backing == ErofsBacking::kFile ? "" : "CONFIG_EROFS_FS_BACKED_BY_FILE";
}

}  // namespace

Result<void> FanotifyDoor::supported(const std::string& directory) {
  const TemporaryFile file(directory);
  if (file.fd() < 0) return errno_error(errno, "temporary file in " + directory);
  std::vector<std::string> missing;
  Errc code = Errc::kUnsupported;
  const auto note = [&](const Error& error) {
    missing.push_back(error.context);
    code = error.code;
  };
  if (const auto group = make_fanotify_group(); !group.ok()) {
    note(group.error());
  } else if (const auto mark = add_pre_access_mark(group->get(), file.fd()); !mark.ok()) {
    note(mark.error());
  }
  if (auto erofs = missing_erofs(file.path()); !erofs.empty()) missing.push_back(std::move(erofs));
  if (missing.empty()) return {};

  std::string list;
  for (const auto& feature : missing) list += (list.empty() ? "" : ", ") + feature;
  return make_error(code,
                    "the fanotify door needs root, kernel 6.14+ with "
                    "CONFIG_FANOTIFY_ACCESS_PERMISSIONS and CONFIG_EROFS_FS_BACKED_BY_FILE, and a "
                    "pool on ext4, xfs or btrfs; missing here: " +
                        list);
}

}  // namespace dedup
