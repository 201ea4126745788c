#include "api/fields.h"

namespace dedup {

using nlohmann::json;

std::string Body::text(const char* name) {
  const auto found = x_body.find(name);
  if (found == x_body.end() || !found->is_string() ||
      found->get_ref<const std::string&>().empty()) {
    return fail(std::string("the field \"") + name + "\" must be a non-empty string"), "";
  }
  return found->get<std::string>();
}

std::string Body::optional_text(const char* name) {
  return x_body.contains(name) ? text(name) : "";
}

bool Body::flag(const char* name) {
  const auto found = x_body.find(name);
  if (found == x_body.end()) return false;
  if (!found->is_boolean())
    return fail(std::string("the field \"") + name + "\" must be true or false"), false;
  return found->get<bool>();
}

Digest Body::digest(const char* name) {
  return parse(text(name), name);
}

std::optional<Digest> Body::optional_digest(const char* name) {
  const auto found = x_body.find(name);
  if (found == x_body.end() || (found->is_string() && found->get_ref<const std::string&>().empty()))
    return std::nullopt;
  return digest(name);
}

std::vector<Digest> Body::digests(const char* name) {
  std::vector<Digest> list;
  const auto found = x_body.find(name);
  if (found == x_body.end()) return list;
  if (!found->is_array())
    return fail(std::string("the field \"") + name + "\" must be an array"), list;
  for (const json& item : *found)
    list.push_back(parse(item.is_string() ? item.get<std::string>() : "", name));
  return list;
}

Digest Body::parse(const std::string& text_value, const char* name) {
  auto digest = Digest::parse(text_value);
  if (digest.ok()) return *digest;
  return fail(std::string("the field \"") + name + "\": " + digest.error().to_string()), Digest{};
}

void Body::fail(std::string message) {
  if (!x_error) x_error = make_error(Errc::kInvalid, std::move(message));
}

Result<std::string> query_value(const ApiRequest& request, const char* name) {
  const auto found = request.query.find(name);
  if (found == request.query.end() || found->second.empty()) {
    return make_error(Errc::kInvalid,
                      std::string("the query parameter \"") + name + "\" is missing");
  }
  return found->second;
}

}  // namespace dedup
