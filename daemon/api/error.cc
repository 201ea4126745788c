// Error <-> HTTP status and JSON: the table of protocol.md.
#include <array>

#include "api/server.h"

namespace dedup {
namespace {

struct ErrorName {
  Errc code;
  std::string_view name;
  int status;
};

constexpr std::array<ErrorName, 10> kErrors{{
    {Errc::kNotFound, "not_found", 404},
    {Errc::kExists, "exists", 409},
    {Errc::kInvalid, "invalid", 400},
    {Errc::kCorruption, "corruption", 422},
    {Errc::kDenied, "denied", 403},
    {Errc::kUnavailable, "unavailable", 503},
    {Errc::kNoSpace, "no_space", 507},
    {Errc::kUnsupported, "unsupported", 501},
    {Errc::kCancelled, "cancelled", 500},
    {Errc::kIo, "io", 500},
}};

const ErrorName& entry_of(Errc code) {
  for (const ErrorName& entry : kErrors) {
    if (entry.code == code) return entry;
  }
  return kErrors.back();
}

}  // namespace

int http_status(Errc code) {
  return entry_of(code).status;
}

nlohmann::json error_json(const Error& error) {
  return {{"error", {{"code", entry_of(error.code).name}, {"message", error.to_string()}}}};
}

Error error_from_json(const nlohmann::json& body) {
  const auto error = body.is_object() ? body.find("error") : body.end();
  if (!body.is_object() || error == body.end() || !error->is_object()) {
    return make_error(Errc::kIo, "the answer is not an error object");
  }
  Errc code = Errc::kIo;
  if (const auto name = error->find("code"); name != error->end() && name->is_string()) {
    for (const ErrorName& entry : kErrors) {
      if (entry.name == name->get_ref<const std::string&>()) code = entry.code;
    }
  }
  const auto message = error->find("message");
  return make_error(code, message != error->end() && message->is_string()
                              ? message->get<std::string>()
                              : std::string(to_string(code)));
}

}  // namespace dedup
