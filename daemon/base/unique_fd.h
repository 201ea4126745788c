// UniqueFd: owns one file descriptor and closes it. Move-only, no implicit int. Any thread, one
// owner at a time.
#pragma once

#include <unistd.h>

#include <utility>

namespace dedup {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : x_fd(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : x_fd(other.release()) {}
  UniqueFd& operator=(UniqueFd other) noexcept {
    std::swap(x_fd, other.x_fd);
    return *this;
  }
  ~UniqueFd() {
    if (x_fd >= 0) ::close(x_fd);
  }

  int get() const { return x_fd; }
  bool valid() const { return x_fd >= 0; }
  [[nodiscard]] int release() { return std::exchange(x_fd, -1); }
  void reset() { UniqueFd().swap(*this); }
  void swap(UniqueFd& other) noexcept { std::swap(x_fd, other.x_fd); }

 private:
  int x_fd = -1;
};

}  // namespace dedup
