// A profile as one HTML page: a picture first, numbers beside it, a table of files below. Nothing
// is loaded from anywhere; the page is well-formed XML as well. Pure; any thread.
#pragma once

#include <string>

#include "trace/profile.h"

namespace dedup {

std::string profile_page(const Profile& profile);

}  // namespace dedup
