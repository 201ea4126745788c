// A folder below TMPDIR that goes with the test.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace dedup {

class TempDir {
 public:
  TempDir() {
    const char* parent = std::getenv("TMPDIR");
    x_path = std::string(parent == nullptr ? "/tmp" : parent) + "/snap-test.XXXXXX";
    if (::mkdtemp(x_path.data()) == nullptr) std::abort();
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(x_path, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string operator/(const std::string& name) const { return x_path + "/" + name; }
  const std::string& path() const { return x_path; }

 private:
  std::string x_path;
};

}  // namespace dedup
