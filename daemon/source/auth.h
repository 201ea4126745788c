// Registry authentication: the WWW-Authenticate challenge as a value, and RegistryAuth, which turns
// challenges into Authorization headers and keeps the token until it expires. One RegistryAuth per
// endpoint and repository, owned by it; loop thread. Secrets go into headers and bodies only.
//   source  RFC 9110 section 11; distribution "Token Authentication" and "OAuth2 token" documents.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "io/http.h"
#include "source/docker_config.h"

namespace dedup {

struct Challenge {
  std::string scheme;                         // lower case
  std::map<std::string, std::string> params;  // names in lower case
  std::string param(const std::string& name) const;
};

// Every challenge of one WWW-Authenticate value; what does not parse ends the list.
std::vector<Challenge> parse_challenges(std::string_view header);

// For the query of a URL: all but RFC 3986 "unreserved" becomes %XX.
std::string percent_encoded(std::string_view text);

class RegistryAuth {
 public:
  struct Target {
    std::string base_url;  // scheme and host of the registry
    std::string host;      // as named in docker config
    std::string repository;
    std::string ca_file;
    std::string docker_config;  // SourceOptions::docker_config
    std::chrono::milliseconds stall_timeout;
    std::string actions = "pull";  // of the token: "pull" or "pull,push"
  };

  RegistryAuth(Ring& ring, HttpClient& http, Log& log, Target target)
      : x_ring(ring), x_http(http), x_log(log), x_target(std::move(target)) {}

  // The Authorization value to send now, "" for none; fetches a new token when the last has
  // expired.
  Task<Result<std::string>> authorization(Priority priority);
  // Answers a 401 that came although `used` was sent. Callers at the same time share one token
  // request.
  //   errors  kDenied (no credentials, credentials refused), kUnavailable (token server), kInvalid.
  Task<Result<void>> answer(HttpHead unauthorized, std::string used, Priority priority);

 private:
  using Clock = std::chrono::steady_clock;

  Task<Result<void>> renew(Challenge challenge, Priority priority);
  Task<Result<void>> fetch_token(Challenge challenge, Priority priority);
  Result<HttpRequest> token_request(const Challenge& challenge,
                                    const std::optional<Credentials>& credentials) const;
  Result<void> take_token(const HttpResponse& response, const std::string& realm);
  Result<std::optional<Credentials>> credentials();
  Error denied(std::string_view what) const;

  Ring& x_ring;
  HttpClient& x_http;
  Log& x_log;
  Target x_target;
  std::string x_authorization;
  std::optional<Clock::time_point> x_expires;  // of a token
  std::optional<Challenge> x_bearer;           // to renew an expired token without a 401
  std::shared_ptr<OneShot<Result<void>>> x_renewing;
  bool x_warned_of_helper = false;
};

}  // namespace dedup
