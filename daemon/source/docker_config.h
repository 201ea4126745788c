// DockerConfig: credentials from a docker config.json. Pure parsing; load() reads the file (a few
// KB, local) on the calling thread. Credentials never appear in errors or logs.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace dedup {

struct Credentials {
  std::string username;
  std::string password;
  std::string identity_token;  // OAuth2 refresh token, used instead of the password when present
};

class DockerConfig {
 public:
  // errors  kInvalid naming the field.
  static Result<DockerConfig> parse(std::string_view json);
  // path: a file or the directory of config.json; empty: $DOCKER_CONFIG, else /root/.docker. A
  // missing file is an empty config.
  static Result<DockerConfig> load(const std::string& path);
  // The file load(path) would read.
  static std::string file_of(const std::string& path);

  // host: "HOST[:PORT]" as in a Reference.
  std::optional<Credentials> find(const std::string& host) const;
  // The helper binaries this config names for `host`, which are not run; "" when none.
  std::string helper_for(const std::string& host) const;

 private:
  std::map<std::string, Credentials> x_auths;  // by normalised host
  std::map<std::string, std::string> x_helpers;
  std::string x_store;
};

std::string base64_encode(std::string_view text);
// errors  kInvalid.
Result<std::string> base64_decode(std::string_view text);

}  // namespace dedup
