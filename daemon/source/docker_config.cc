#include "source/docker_config.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/unique_fd.h"

namespace dedup {
namespace {

using nlohmann::json;

constexpr size_t kMaxConfigFileBytes = size_t{1} << 20;

// Keys are hosts or URLs ("https://HOST/v1/"); the default registry has four names.
std::string normalised(std::string_view key) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (key.starts_with(scheme)) key.remove_prefix(scheme.size());
  }
  key = key.substr(0, key.find('/'));
  if (key == "index.docker.io" || key == "registry-1.docker.io") key = "docker.io";
  return std::string(key);
}

std::string text_or_empty(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Result<Credentials> credentials_of(const json& entry, const std::string& where) {
  Credentials credentials;
  credentials.username = text_or_empty(entry, "username");
  credentials.password = text_or_empty(entry, "password");
  credentials.identity_token = text_or_empty(entry, "identitytoken");
  const std::string encoded = text_or_empty(entry, "auth");
  if (encoded.empty()) return credentials;
  auto decoded = base64_decode(encoded);
  const size_t colon = decoded.ok() ? decoded->find(':') : std::string::npos;
  if (colon == std::string::npos) {
    return make_error(Errc::kInvalid, where + ".auth is not base64 of USER:PASSWORD");
  }
  credentials.username = decoded->substr(0, colon);
  credentials.password = decoded->substr(colon + 1);
  while (!credentials.password.empty() && credentials.password.back() == '\0') {
    credentials.password.pop_back();
  }
  return credentials;
}

}  // namespace

Result<DockerConfig> DockerConfig::parse(std::string_view text) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object()) return make_error(Errc::kInvalid, "not a JSON object");
  DockerConfig config;
  config.x_store = text_or_empty(document, "credsStore");
  if (const auto helpers = document.find("credHelpers");
      helpers != document.end() && helpers->is_object()) {
    for (const auto& [host, helper] : helpers->items()) {
      if (helper.is_string()) config.x_helpers[normalised(host)] = helper.get<std::string>();
    }
  }
  const auto auths = document.find("auths");
  if (auths == document.end() || auths->is_null()) return config;
  if (!auths->is_object()) return make_error(Errc::kInvalid, "\"auths\" is not an object");
  for (const auto& [host, entry] : auths->items()) {
    const std::string where = "auths." + host;
    if (!entry.is_object()) return make_error(Errc::kInvalid, where + " is not an object");
    TRY(credentials, credentials_of(entry, where));
    const bool empty = credentials.username.empty() && credentials.identity_token.empty();
    if (!empty) config.x_auths[normalised(host)] = std::move(credentials);
  }
  return config;
}

std::string DockerConfig::file_of(const std::string& path) {
  std::string file = path;
  if (file.empty()) {
    const char* named = std::getenv("DOCKER_CONFIG");
    file = named != nullptr && *named != '\0' ? named : "/root/.docker";
  }
  struct stat status {};
  const bool directory = ::stat(file.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
  return directory ? file + "/config.json" : file;
}

Result<DockerConfig> DockerConfig::load(const std::string& path) {
  const std::string file = file_of(path);
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid() && (errno == ENOENT || errno == ENOTDIR)) return DockerConfig();
  if (!fd.valid()) return errno_error(errno, file);
  std::string text(kMaxConfigFileBytes, '\0');
  size_t filled = 0;
  for (;;) {
    const ssize_t got = ::read(fd.get(), text.data() + filled, text.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(errno, file);
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  if (filled == text.size()) return make_error(Errc::kInvalid, file + " is larger than 1 MiB");
  auto config = parse(std::string_view(text).substr(0, filled));
  if (!config.ok()) return std::move(config).error().with(file);
  return config;
}

std::optional<Credentials> DockerConfig::find(const std::string& host) const {
  const auto found = x_auths.find(normalised(host));
  if (found == x_auths.end()) return std::nullopt;
  return found->second;
}

std::string DockerConfig::helper_for(const std::string& host) const {
  const auto found = x_helpers.find(normalised(host));
  return found == x_helpers.end() ? x_store : found->second;
}

std::string base64_encode(std::string_view text) {
  std::string encoded((text.size() + 2) / 3 * 4 + 1, '\0');  // EVP writes a closing NUL
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
  encoded.resize(static_cast<size_t>(length));
  return encoded;
}

Result<std::string> base64_decode(std::string_view text) {
  std::string padded(text);
  while (padded.size() % 4 != 0) padded += '=';
  std::string decoded(padded.size() / 4 * 3, '\0');
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(decoded.data()),
                                     reinterpret_cast<const unsigned char*>(padded.data()),
                                     static_cast<int>(padded.size()));
  size_t padding = 0;
  while (padding < padded.size() && padded[padded.size() - 1 - padding] == '=') ++padding;
  if (length < 0 || padding > 2 || static_cast<size_t>(length) < padding) {
    return make_error(Errc::kInvalid, "not base64");
  }
  decoded.resize(static_cast<size_t>(length) - padding);
  return decoded;
}

}  // namespace dedup
