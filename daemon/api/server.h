// ApiServer: HTTP/1.1 on a unix socket (api/protocol.md). cpp-httplib threads parse and serialise;
// every handler runs as a coroutine on the loop. Owned by main; start and stop from any thread but
// the loop's.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "io/ring.h"

namespace dedup {

// Sends one progress object to the caller of a streaming route; loop thread; a slow or gone reader
// never blocks the loop (progress is dropped, oldest first, the final line never).
using ApiProgress = std::function<void(nlohmann::json)>;

struct ApiRequest {
  nlohmann::json body;                       // {} when the request had none
  std::map<std::string, std::string> query;  // decoded
};

struct ApiRoute {
  std::string method;
  std::string path;  // exact, "/v1/images"
  bool streaming = false;
  std::function<Task<Result<nlohmann::json>>(ApiRequest, ApiProgress)> handler;
};

class ApiServer {
 public:
  // Binds `socket_path` (mode 0600, stale socket files are replaced) and serves on its own threads.
  static Result<std::unique_ptr<ApiServer>> open(Ring& ring, Log& log,
                                                 const std::string& socket_path,
                                                 std::vector<ApiRoute> routes);
  virtual ~ApiServer() = default;  // stops; waits for running handlers, so the loop must still run
};

// Error <-> HTTP status and body, the table of protocol.md.
int http_status(Errc code);
nlohmann::json error_json(const Error& error);
Error error_from_json(const nlohmann::json& body);  // of an {"error": ...} object

}  // namespace dedup
