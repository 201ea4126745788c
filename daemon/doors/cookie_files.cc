#include "doors/cookie_files.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <span>

#include "doors/cachefiles_names.h"

namespace dedup {
namespace {

constexpr uint64_t kBlockBytes = 4096;

Result<void> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return {};
  return errno_error(errno, "create directory " + path);
}

Result<void> set_xattr(const std::string& path, std::span<const std::byte> value) {
  std::array<std::byte, 32> there;
  const ssize_t bytes = ::lgetxattr(path.c_str(), kCookieXattr, there.data(), there.size());
  if (bytes >= 0 && std::ranges::equal(std::span(there).first(static_cast<size_t>(bytes)), value))
    return {};
  if (::lsetxattr(path.c_str(), kCookieXattr, value.data(), value.size(), 0) == 0) return {};
  Error error = errno_error(errno, std::string("set ") + kCookieXattr + " of " + path);
  if (error.sys_errno == EOPNOTSUPP) error.code = Errc::kUnsupported;
  return error;
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

std::string domain_file(const std::string& directory) {
  return directory + "/domain";
}

Result<std::string> new_domain() {
  uint32_t number = 0;
  if (::getrandom(&number, sizeof(number), 0) != sizeof(number)) {
    return errno_error(errno, "getrandom");
  }
  char text[24];
  std::snprintf(text, sizeof(text), "dedup-%08x", number);
  return std::string(text);
}

}  // namespace

CookieFiles::CookieFiles(std::string directory, std::string domain)
    : x_directory(std::move(directory)),
      x_domain(std::move(domain)),
      x_volume_key(erofs_volume_key(x_domain)) {}

Result<CookieFiles> CookieFiles::create(std::string directory) {
  TRY(make_directory(directory));
  for (const char* folder : {"/cache", "/graveyard"}) {
    std::error_code failed;
    std::filesystem::remove_all(directory + folder, failed);  // follows no symlinks
    if (failed) return errno_error(failed.value(), "remove " + directory + folder);
  }
  TRY(domain, new_domain());
  std::ofstream file(domain_file(directory), std::ios::trunc);
  if (!(file << domain).flush()) return errno_error(errno, "write " + domain_file(directory));
  CookieFiles files(std::move(directory), std::move(domain));
  TRY(files.make_volume());
  return files;
}

Result<CookieFiles> CookieFiles::open(std::string directory) {
  std::ifstream file(domain_file(directory));
  std::string domain;
  if (!(file >> domain)) return make_error(Errc::kNotFound, "no " + domain_file(directory));
  CookieFiles files(std::move(directory), std::move(domain));
  TRY(files.make_volume());
  return files;
}

Result<void> CookieFiles::make_volume() const {
  TRY(make_directory(x_directory + "/cache"));
  const std::string volume = x_directory + "/" + volume_directory(x_volume_key);
  TRY(make_directory(volume));
  return set_xattr(volume, kVolumeXattr);
}

Result<std::string> CookieFiles::path_of(const std::string& volume_key,
                                         const std::string& cookie) const {
  TRY(path, cookie_path(volume_key, cookie));
  return x_directory + "/" + path;
}

Result<void> CookieFiles::add(const std::string& cookie, const std::string& file) const {
  TRY(path, path_of(x_volume_key, cookie));
  struct stat source {};
  if (::stat(file.c_str(), &source) != 0) return errno_error(errno, "stat " + file);
  const auto bytes = static_cast<uint64_t>(source.st_size);
  if (bytes % kBlockBytes != 0) {
    return make_error(Errc::kInvalid, file + " has no whole number of blocks");
  }
  TRY(make_directory(std::filesystem::path(path).parent_path()));
  struct stat there {};
  if (::lstat(path.c_str(), &there) == 0 && !same_file(source, there)) ::unlink(path.c_str());
  if (::link(file.c_str(), path.c_str()) != 0 && errno != EEXIST) {
    return errno_error(errno, "link " + file + " to " + path);
  }
  return set_xattr(path, cookie_xattr(bytes));
}

void CookieFiles::remove(const std::string& cookie) const {
  const auto path = path_of(x_volume_key, cookie);
  if (path.ok()) ::unlink(path->c_str());
}

void CookieFiles::remove_all_but(const std::set<std::string>& cookies) const {
  std::error_code failed;
  const std::string volume = x_directory + "/" + volume_directory(x_volume_key);
  for (const auto& fan_out : std::filesystem::directory_iterator(volume, failed)) {
    if (!fan_out.is_directory(failed) || fan_out.is_symlink(failed)) continue;
    for (const auto& file : std::filesystem::directory_iterator(fan_out.path(), failed)) {
      const std::string name = file.path().filename().string();
      if (!cookies.contains(name.substr(1))) ::unlink(file.path().c_str());
    }
  }
}

}  // namespace dedup
