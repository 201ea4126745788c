// Unix stream sockets by path: the listener of ApiServer and the connect that tells why a daemon
// does not answer. Any thread.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace dedup {

// Listens on `path`, mode 0600 from its first moment. A socket file nobody listens on is replaced;
// the parent folder is made when only it is missing.
//   errors  kExists: another process answers on `path`. kInvalid: the path is longer than a socket
//           address takes, or names something that is not a socket.
Result<UniqueFd> listen_unix(const std::string& path);

// errors  sys_errno tells why: ENOENT (no file), ECONNREFUSED (nobody listens), EACCES.
Result<UniqueFd> connect_unix(const std::string& path);

}  // namespace dedup
