// Fields of a request as values, for handlers. Loop thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/server.h"
#include "base/digest.h"

namespace dedup {

// Reads fields of a request body; the first problem is the answer.
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
  Digest parse(const std::string& text_value, const char* name);
  void fail(std::string message);

  const nlohmann::json& x_body;
  std::optional<Error> x_error;
};

// Of the query string.
//   errors  kInvalid: missing or empty
Result<std::string> query_value(const ApiRequest& request, const char* name);

}  // namespace dedup
