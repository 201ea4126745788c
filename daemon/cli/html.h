// Text and drawings into HTML that is XML as well. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

namespace dedup {

// For elements and quoted attributes. Names come from images: control characters, those that turn
// the direction of writing and what is not UTF-8 become U+FFFD.
std::string escape_html(std::string_view text);

// "sha256-…" of an inline script, for a Content-Security-Policy that allows it and no other.
std::string script_hash(std::string_view script);

// <path class="kind" d="…"/>; "" when there is nothing to draw.
std::string path_element(std::string_view kind, std::string_view d);

// For coordinates: at most so many decimals, none when they are 0.
std::string decimal(double number, int decimals = 2);

}  // namespace dedup
