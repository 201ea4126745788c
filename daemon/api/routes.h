// The routes of api/protocol.md over the engine. Handlers run on the loop thread; they hold no
// state of their own.
#pragma once

#include <chrono>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "api/server.h"
#include "doors/door.h"
#include "doors/guard.h"
#include "doors/kept_link.h"
#include "image/images.h"
#include "trace/tracing.h"

namespace dedup {

// Everything a handler may use, borrowed; outlives the server.
struct Engine {
  Pool& pool;
  Images& images;
  Chains& chains;
  ImageStore& store;
  Tracing& tracing;
  Locations& locations;
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

// For the files that make some of them.
struct RouteRow {
  const char* method;
  const char* path;
  bool streaming;
  Task<Result<nlohmann::json>> (*handler)(Engine&, ApiRequest, ApiProgress);
};
std::vector<ApiRoute> routes_of(Engine& engine, std::span<const RouteRow> table);

}  // namespace dedup
