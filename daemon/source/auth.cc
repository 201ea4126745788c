#include "source/auth.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace dedup {
namespace {

constexpr uint64_t kMaxTokenAnswerBytes = uint64_t{1} << 20;
constexpr int64_t kDefaultTokenSeconds = 60;  // distribution: when expires_in is absent
constexpr int64_t kMaxTokenSeconds = 24 * 3600;
constexpr std::string_view kSpace = " \t";

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

// RFC 9110 "token" characters.
bool is_token(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

struct Cursor {
  std::string_view rest;

  void skip(std::string_view characters) {
    rest.remove_prefix(std::min(rest.find_first_not_of(characters), rest.size()));
  }
  std::string_view token() {
    size_t end = 0;
    while (end < rest.size() && is_token(rest[end])) ++end;
    const auto taken = rest.substr(0, end);
    rest.remove_prefix(end);
    return taken;
  }
  bool take(char c) {
    if (!rest.starts_with(c)) return false;
    rest.remove_prefix(1);
    return true;
  }
  // A token or a quoted string with backslash escapes.
  std::optional<std::string> value() {
    if (!take('"')) return std::string(token());
    std::string text;
    while (!rest.empty()) {
      char c = rest.front();
      rest.remove_prefix(1);
      if (c == '"') return text;
      if (c == '\\' && !rest.empty()) {
        c = rest.front();
        rest.remove_prefix(1);
      }
      text += c;
    }
    return std::nullopt;
  }
};

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace

std::string percent_encoded(std::string_view text) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || std::string_view("-._~").find(c) != std::string_view::npos) {
      encoded += c;
    } else {
      encoded += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return encoded;
}

std::string Challenge::param(const std::string& name) const {
  const auto found = params.find(name);
  return found == params.end() ? std::string() : found->second;
}

std::vector<Challenge> parse_challenges(std::string_view header) {
  std::vector<Challenge> challenges;
  Cursor cursor{header};
  for (;;) {
    cursor.skip(" \t,");
    const std::string_view name = cursor.token();
    if (name.empty()) return challenges;
    const bool spaced = cursor.rest.find_first_not_of(kSpace) != 0;
    cursor.skip(kSpace);
    // "name=value" continues the challenge before, "name" begins the next.
    if (cursor.take('=')) {
      cursor.skip(kSpace);
      auto value = cursor.value();
      if (!value || challenges.empty()) return challenges;
      challenges.back().params.emplace(lower_case(name), std::move(*value));
    } else if (spaced || cursor.rest.empty() || cursor.rest.front() == ',') {
      challenges.push_back({lower_case(name), {}});
    } else {
      return challenges;
    }
  }
}

Task<Result<std::string>> RegistryAuth::authorization(Priority priority) {
  if (x_expires && Clock::now() >= *x_expires && x_bearer) {
    CO_TRY(co_await renew(*x_bearer, priority));
  }
  co_return x_authorization;
}

Task<Result<void>> RegistryAuth::answer(HttpHead unauthorized, std::string used,
                                        Priority priority) {
  // Somebody else has renewed it while this request was under way.
  if (!x_renewing && used != x_authorization) co_return Result<void>();
  std::optional<Challenge> bearer;
  bool basic = false;
  const auto [first, last] = unauthorized.headers.equal_range("www-authenticate");
  for (auto header = first; header != last; ++header) {
    for (auto& challenge : parse_challenges(header->second)) {
      if (challenge.scheme == "bearer" && !bearer) bearer = std::move(challenge);
      if (challenge.scheme == "basic") basic = true;
    }
  }
  if (bearer) co_return co_await renew(std::move(*bearer), priority);
  if (!basic) co_return denied("asks for no authentication this program knows (401)");
  CO_TRY(known, credentials());
  if (!known || known->username.empty()) co_return denied("wants credentials (401)");
  std::string value = "Basic " + base64_encode(known->username + ":" + known->password);
  if (value == used) co_return denied("refused credentials (401)");
  x_authorization = std::move(value);
  x_expires.reset();
  co_return Result<void>();
}

Task<Result<void>> RegistryAuth::renew(Challenge challenge, Priority priority) {
  if (auto running = x_renewing) co_return co_await running->wait();
  auto shot = std::make_shared<OneShot<Result<void>>>(x_ring);
  x_renewing = shot;
  auto result = co_await fetch_token(std::move(challenge), priority);
  x_renewing.reset();
  shot->set(result);
  co_return result;
}

Task<Result<void>> RegistryAuth::fetch_token(Challenge challenge, Priority priority) {
  CO_TRY(known, credentials());
  CO_TRY(request, token_request(challenge, known));
  const std::string realm = challenge.param("realm");
  auto response = co_await x_http.fetch(std::move(request), priority, kMaxTokenAnswerBytes);
  if (!response.ok()) {
    co_return std::move(response).error().with("token for " + x_target.host + "/" +
                                               x_target.repository);
  }
  const int status = response->head.status;
  if (status == 400 || status == 401 || status == 403) {
    const std::string code = " (" + std::to_string(status) + " of the token server)";
    co_return denied((known ? "refused credentials" : "wants credentials") + code);
  }
  if (status != 200) {
    co_return make_error(Errc::kUnavailable, "token server of registry " + x_target.host +
                                                 " answers " + std::to_string(status) + " for " +
                                                 x_target.repository + ": try again later");
  }
  CO_TRY(take_token(*response, realm));
  x_bearer = std::move(challenge);
  co_return Result<void>();
}

Result<HttpRequest> RegistryAuth::token_request(const Challenge& challenge,
                                                const std::optional<Credentials>& known) const {
  const std::string realm = challenge.param("realm");
  const bool tls = realm.starts_with("https://");
  if (!tls && (!realm.starts_with("http://") || x_target.base_url.starts_with("https://"))) {
    return make_error(Errc::kDenied, "registry " + x_target.host +
                                         " names a token server that is not https: refused");
  }
  std::string scope = challenge.param("scope");
  // A push begins with reads, and the challenge of those asks for less than it needs.
  const bool too_narrow = x_target.actions != "pull" && scope.find("push") == scope.npos;
  if (scope.empty() || too_narrow) {
    scope = "repository:" + x_target.repository + ":" + x_target.actions;
  }
  const std::string query =
      "service=" + percent_encoded(challenge.param("service")) + "&scope=" + percent_encoded(scope);
  HttpRequest request;
  request.url = realm;
  request.stall_timeout = x_target.stall_timeout;
  if (origin_of(realm) == origin_of(x_target.base_url)) request.ca_file = x_target.ca_file;
  if (known && !known->identity_token.empty()) {
    request.method = "POST";
    request.headers = {"Content-Type: application/x-www-form-urlencoded"};
    request.body = "grant_type=refresh_token&client_id=dedup-snapshotter&" + query +
                   "&refresh_token=" + percent_encoded(known->identity_token);
    return request;
  }
  request.url += (realm.find('?') == realm.npos ? "?" : "&") + query;
  if (known) {
    request.headers = {"Authorization: Basic " +
                       base64_encode(known->username + ":" + known->password)};
  }
  return request;
}

Result<void> RegistryAuth::take_token(const HttpResponse& response, const std::string& realm) {
  using nlohmann::json;
  const json document = json::parse(as_text(response.body), nullptr, false);
  std::string token;
  for (const char* name : {"token", "access_token"}) {
    const auto found = document.is_object() ? document.find(name) : document.end();
    if (token.empty() && found != document.end() && found->is_string()) {
      token = found->get<std::string>();
    }
  }
  if (token.empty() || !is_printable(token)) {
    return make_error(Errc::kInvalid, "token server " + realm.substr(0, realm.find('?')) +
                                          " of registry " + x_target.host + " sent no token");
  }
  int64_t seconds = kDefaultTokenSeconds;
  const auto expires = document.find("expires_in");
  if (expires != document.end() && expires->is_number_integer()) {
    seconds = std::clamp<int64_t>(expires->get<int64_t>(), 1, kMaxTokenSeconds);
  }
  x_authorization = "Bearer " + token;
  // A tenth early, so that a token does not expire on its way.
  x_expires = Clock::now() + std::chrono::milliseconds(seconds * 900);
  return {};
}

// Read anew for every token, so a login or a rotated password needs no restart.
Result<std::optional<Credentials>> RegistryAuth::credentials() {
  TRY(config, DockerConfig::load(x_target.docker_config));
  auto found = config.find(x_target.host);
  const std::string helper = config.helper_for(x_target.host);
  if (!found && !helper.empty() && !std::exchange(x_warned_of_helper, true)) {
    x_log.warn("credential helpers are not run: add the credentials themselves to config.json",
               {{"registry", x_target.host}, {"helper", helper}});
  }
  return found;
}

Error RegistryAuth::denied(std::string_view what) const {
  return make_error(Errc::kDenied, "registry " + x_target.host + " " + std::string(what) + " for " +
                                       x_target.repository + ": add them to " +
                                       DockerConfig::file_of(x_target.docker_config));
}

}  // namespace dedup
