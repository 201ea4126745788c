#include "api/request_body.h"

namespace dedup {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 32;

// Copying and printing a json value recurse, so depth is bounded before one is made.
bool too_deep(std::string_view text) {
  size_t depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) return true;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return false;
}

}  // namespace

Result<json> parse_body(std::string_view text) {
  if (text.empty()) return json::object();
  if (too_deep(text)) {
    return make_error(Errc::kInvalid, "the request body is nested deeper than " +
                                          std::to_string(kMaxDepth) + " levels");
  }
  try {
    json value = json::parse(text);
    if (value.is_object()) return value;
    return make_error(Errc::kInvalid, "the request body must be a JSON object, it is " +
                                          std::string(value.type_name()));
  } catch (const json::parse_error& e) {
    return make_error(Errc::kInvalid,
                      "the request body is not JSON: error at byte " + std::to_string(e.byte));
  } catch (const std::exception& e) {
    return make_error(Errc::kInvalid, std::string("the request body is not JSON: ") + e.what());
  }
}

std::string dump_json(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

}  // namespace dedup
