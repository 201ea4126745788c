#include "doors/erofs_support.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdlib>

#include "doors/fs_context.h"

namespace dedup {

TemporaryFile::TemporaryFile(const std::string& directory)
    : x_path(directory + "/door-probe-XXXXXX") {
  x_fd = UniqueFd(mkostemp(x_path.data(), O_CLOEXEC));
}

TemporaryFile::~TemporaryFile() {
  if (x_fd.valid()) unlink(x_path.c_str());
}

// An empty file is refused as not EROFS (EINVAL) where file-backed mounts are built in, and as not
// a block device (ENOTBLK) where they are not.
Result<ErofsBacking> erofs_backing(const std::string& file) {
  FsContext fs("erofs");
  if (!fs.valid()) {
    const int number = errno;
    const std::string reason =
        number == ENODEV ? "CONFIG_EROFS_FS" : errno_error(number, "fsopen of erofs").to_string();
    return Error{Errc::kUnsupported, number, reason};
  }
  if (const int number = fs.set("source", file); number != 0) {
    const std::string reason = errno_error(number, "fsconfig of erofs").to_string();
    return Error{Errc::kUnsupported, number, reason};
  }
  fs.set("ro");
  return fs.create() == ENOTBLK ? ErofsBacking::kBlockDevice : ErofsBacking::kFile;
}

}  // namespace dedup
