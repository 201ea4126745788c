// The routes of api/protocol.md over the engine. Handlers run on the loop thread; they hold no
// state of their own.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "api/server.h"
#include "doors/door.h"
#include "doors/guard.h"
#include "doors/kept_link.h"
#include "image/images.h"

namespace dedup {

// Everything a handler may use, borrowed; outlives the server.
struct Engine {
  Pool& pool;
  Images& images;
  Chains& chains;
  ImageStore& store;
  Workers& workers;
  const Door& door;
  KeptLink& link;
  const Guard* guard;  // may be null
  const HttpClient& http;
  std::string version;
  std::string root;
  std::string door_name;
  std::string door_reason;
  std::chrono::steady_clock::time_point started;
};

std::vector<ApiRoute> make_routes(Engine& engine);

}  // namespace dedup
