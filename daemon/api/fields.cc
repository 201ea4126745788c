#include "api/fields.h"

namespace dedup {

using nlohmann::json;

std::string Body::text(const char* name) {
  const json* field = find(name);
  if (field == nullptr || !field->is_string() || field->get_ref<const std::string&>().empty())
    return fail(name, "must be a non-empty string"), "";
  auto value = field->get<std::string>();
  if (value.find('\0') != std::string::npos) return fail(name, "contains a NUL byte"), "";
  return value;
}

std::string Body::optional_text(const char* name) {
  return find(name) == nullptr ? "" : text(name);
}

bool Body::flag(const char* name) {
  const json* field = find(name);
  if (field == nullptr) return false;
  if (!field->is_boolean()) return fail(name, "must be true or false"), false;
  return field->get<bool>();
}

Digest Body::digest(const char* name) {
  return parse(text(name), name);
}

std::optional<Digest> Body::optional_digest(const char* name) {
  const json* field = find(name);
  if (field == nullptr || (field->is_string() && field->get_ref<const std::string&>().empty()))
    return std::nullopt;
  return digest(name);
}

std::vector<Digest> Body::digests(const char* name) {
  std::vector<Digest> list;
  const json* field = find(name);
  if (field == nullptr) return list;
  if (!field->is_array()) return fail(name, "must be an array"), list;
  for (const json& item : *field)
    list.push_back(parse(item.is_string() ? item.get<std::string>() : "", name));
  return list;
}

const json* Body::find(const char* name) const {
  const auto found = x_body.find(name);
  return found == x_body.end() || found->is_null() ? nullptr : &*found;
}

Digest Body::parse(const std::string& text_value, const char* name) {
  auto digest = Digest::parse(text_value);
  if (digest.ok()) return *digest;
  return fail(name, "is no digest: " + digest.error().to_string()), Digest{};
}

void Body::fail(const char* name, std::string_view problem) {
  if (x_error) return;
  x_error =
      make_error(Errc::kInvalid, "the field \"" + std::string(name) + "\" " + std::string(problem));
}

Result<std::string> query_value(const ApiRequest& request, const char* name) {
  const std::string parameter = "the query parameter \"" + std::string(name) + "\" ";
  const auto found = request.query.find(name);
  if (found == request.query.end() || found->second.empty())
    return make_error(Errc::kInvalid, parameter + "is missing");
  if (found->second.find('\0') != std::string::npos)
    return make_error(Errc::kInvalid, parameter + "contains a NUL byte");
  return found->second;
}

}  // namespace dedup
