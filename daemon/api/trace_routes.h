// The routes of api/protocol.md about traces and profiles.
#pragma once

#include "api/routes.h"

namespace dedup {

std::vector<ApiRoute> make_trace_routes(Engine& engine);

}  // namespace dedup
