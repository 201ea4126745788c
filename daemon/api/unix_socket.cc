#include "api/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace dedup {
namespace {

constexpr int kBacklog = 128;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return make_error(Errc::kInvalid, "socket path \"" + path + "\" must have 1 to " +
                                          std::to_string(sizeof(address.sun_path) - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Result<UniqueFd> make_socket() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errno_error(errno, "socket");
  return fd;
}

Result<void> remove_stale(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode)) {
    return make_error(Errc::kInvalid, path + " exists and is not a socket");
  }
  if (connect_unix(path).ok()) {
    return make_error(Errc::kExists, "another process answers on " + path);
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error(errno, "remove " + path);
  return {};
}

}  // namespace

Result<UniqueFd> listen_unix(const std::string& path) {
  TRY(address, address_of(path));
  TRY(fd, make_socket());
  const auto slash = path.rfind('/');
  // A folder that cannot be made shows in bind.
  if (slash != std::string::npos && slash > 0) ::mkdir(path.substr(0, slash).c_str(), 0755);
  TRY(remove_stale(path));
  // bind gives the file the mode of the socket inode: no moment in which others may connect.
  if (::fchmod(fd.get(), 0600) != 0) return errno_error(errno, "fchmod of a socket");
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return errno_error(errno, "bind " + path);
  }
  if (::listen(fd.get(), kBacklog) != 0) return errno_error(errno, "listen " + path);
  return fd;
}

Result<UniqueFd> connect_unix(const std::string& path) {
  TRY(address, address_of(path));
  TRY(fd, make_socket());
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return errno_error(errno, "connect " + path);
  }
  return fd;
}

}  // namespace dedup
