// An EROFS mount that ends with the object. Any thread.
#pragma once

#include <string>
#include <utility>

namespace dedup::test {

class ErofsMount {
 public:
  // What is mounted on the directory `target`.
  static ErofsMount at(std::string target) { return ErofsMount(std::move(target)); }
  ErofsMount(ErofsMount&& other) noexcept : x_target(std::exchange(other.x_target, {})) {}
  ErofsMount& operator=(ErofsMount&&) = delete;
  ~ErofsMount();

  std::string path(const std::string& name) const { return x_target + "/" + name; }

 private:
  explicit ErofsMount(std::string target) : x_target(std::move(target)) {}
  std::string x_target;
};

// Unmounts now, or as soon as nobody uses it.
void unmount(const std::string& target);

}  // namespace dedup::test
