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

Error field_error(std::string_view name, std::string_view must) {
  return make_error(Errc::kInvalid,
                    "field \"" + std::string(name) + "\" of the request " + std::string(must));
}

const json* find_field(const json& body, std::string_view name) {
  if (!body.is_object()) return nullptr;
  const auto field = body.find(name);
  return field == body.end() || field->is_null() ? nullptr : &*field;
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

Result<std::string> text_field(const json& body, std::string_view name) {
  TRY(text, text_field_or(body, name, ""));
  if (text.empty()) return field_error(name, "is missing or empty");
  return text;
}

Result<std::string> text_field_or(const json& body, std::string_view name, std::string fallback) {
  const json* field = find_field(body, name);
  if (field == nullptr) return fallback;
  if (!field->is_string()) return field_error(name, "must be a string");
  auto text = field->get<std::string>();
  // Paths and names end up in system calls and in C strings.
  if (text.find('\0') != std::string::npos) return field_error(name, "contains a NUL byte");
  return text;
}

Result<bool> flag_field_or(const json& body, std::string_view name, bool fallback) {
  const json* field = find_field(body, name);
  if (field == nullptr) return fallback;
  if (!field->is_boolean()) return field_error(name, "must be true or false");
  return field->get<bool>();
}

Result<std::vector<std::string>> text_list_field_or(const json& body, std::string_view name,
                                                    std::vector<std::string> fallback) {
  const json* field = find_field(body, name);
  if (field == nullptr) return fallback;
  if (!field->is_array()) return field_error(name, "must be a list of strings");
  std::vector<std::string> texts;
  for (const json& element : *field) {
    if (!element.is_string()) return field_error(name, "must be a list of strings");
    texts.push_back(element.get<std::string>());
    if (texts.back().find('\0') != std::string::npos) {
      return field_error(name, "contains a NUL byte");
    }
  }
  return texts;
}

Result<std::string> query_field(const ApiRequest& request, const std::string& name) {
  const auto value = request.query.find(name);
  if (value == request.query.end() || value->second.empty()) {
    return make_error(Errc::kInvalid, "query parameter \"" + name + "\" is missing or empty");
  }
  if (value->second.find('\0') != std::string::npos) {
    return make_error(Errc::kInvalid, "query parameter \"" + name + "\" contains a NUL byte");
  }
  return value->second;
}

}  // namespace dedup
