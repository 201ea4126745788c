// What the EROFS of this kernel can be mounted from, asked of the kernel itself. Any thread;
// blocks.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace dedup {

// A file in `directory` that ends with this object.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& directory);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  int fd() const { return x_fd.get(); }  // -1, and errno set, when it could not be made
  const std::string& path() const { return x_path; }

 private:
  std::string x_path;
  UniqueFd x_fd;
};

enum class ErofsBacking : uint8_t {
  kBlockDevice,  // only: needs loop devices
  kFile,         // 6.12+ with CONFIG_EROFS_FS_BACKED_BY_FILE
};

// file: an empty regular file. Loads the module where there is one.
//   errors  kUnsupported: no EROFS at all; the context names what is missing
Result<ErofsBacking> erofs_backing(const std::string& file);

}  // namespace dedup
