// Fields of a request as values, for handlers. Loop thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/server.h"
#include "base/digest.h"

namespace dedup {

// Reads fields of a request body; null is absent. The first problem is the answer, and names the
// field. Texts have no NUL bytes: they end up in system calls.
class Body {
 public:
  explicit Body(const nlohmann::json& body) : x_body(body) {}

  std::string text(const char* name);           // not empty
  std::string optional_text(const char* name);  // empty when absent
  bool flag(const char* name);                  // false when absent
  Digest digest(const char* name);
  std::optional<Digest> optional_digest(const char* name);
  std::vector<Digest> digests(const char* name);  // empty when absent

  Result<void> outcome() const { return x_error ? Result<void>(*x_error) : Result<void>(); }

 private:
  const nlohmann::json* find(const char* name) const;
  Digest parse(const std::string& text_value, const char* name);
  void fail(const char* name, std::string_view problem);

  const nlohmann::json& x_body;
  std::optional<Error> x_error;
};

// Of the query string.
//   errors  kInvalid: missing, empty, or with a NUL byte
Result<std::string> query_value(const ApiRequest& request, const char* name);

}  // namespace dedup
