// A file-backed EROFS mount that ends with the object. Any thread.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace dedup::test {

class ErofsMount {
 public:
  // Mounts `image` with its data `devices`, in device-slot order, on the directory `target`.
  static Result<ErofsMount> mount(const std::string& image, const std::vector<std::string>& devices,
                                  const std::string& target);
  ErofsMount(ErofsMount&& other) noexcept : x_target(std::exchange(other.x_target, {})) {}
  ErofsMount& operator=(ErofsMount&&) = delete;
  ~ErofsMount();

  // Leaves it mounted.
  void release() { x_target.clear(); }
  std::string path(const std::string& name) const { return x_target + "/" + name; }

 private:
  explicit ErofsMount(std::string target) : x_target(std::move(target)) {}
  std::string x_target;
};

// Unmounts now, or as soon as nobody uses it.
void unmount(const std::string& target);

}  // namespace dedup::test
