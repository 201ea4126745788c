#include "cli/names.h"

#include <filesystem>
#include <system_error>

namespace dedup {
namespace {

constexpr std::string_view kLayoutPrefix = "oci:";

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

std::string absolute_reference(const std::string& reference, const std::string& working_directory) {
  if (!reference.starts_with(kLayoutPrefix)) return reference;
  std::string rest = reference.substr(kLayoutPrefix.size());
  if (rest.empty()) return reference;
  // A tag and a digest hold no '/', so all that matters is before the last one; "DIR/:TAG" is what
  // completion in a shell leaves.
  const size_t slash = rest.rfind('/');
  if (slash != std::string::npos && slash > 0 && slash + 1 < rest.size() &&
      (rest[slash + 1] == ':' || rest[slash + 1] == '@')) {
    rest.erase(slash, 1);
  }
  if (rest.front() != '/') rest = working_directory + "/" + rest;
  const std::string normal = std::filesystem::path(rest).lexically_normal().string();
  return std::string(kLayoutPrefix) + without_trailing_slashes(normal);
}

std::string absolute_path(const std::string& path) {
  std::error_code error;
  auto resolved = std::filesystem::weakly_canonical(path, error);
  if (error) resolved = std::filesystem::absolute(path, error).lexically_normal();
  return without_trailing_slashes(error ? path : resolved.string());
}

}  // namespace dedup
