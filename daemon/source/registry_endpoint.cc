#include "source/registry_endpoint.h"

#include <curl/curl.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "source/retry.h"

namespace dedup {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kMaxErrorBodyBytes = 64 * 1024;
constexpr std::chrono::seconds kMirrorRest{30};

// The first message of a distribution error body, one printable line.
std::string message_of(const Bytes& body) {
  const auto document = nlohmann::json::parse(as_text(body), nullptr, false);
  if (!document.is_object()) return "";
  const auto errors = document.find("errors");
  if (errors == document.end() || !errors->is_array() || errors->empty()) return "";
  const auto& first = errors->front();
  const auto message = first.is_object() ? first.find("message") : first.end();
  if (!first.is_object() || message == first.end() || !message->is_string()) return "";
  std::string line = message->get<std::string>().substr(0, 200);
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return line;
}

// Reads a short error body to its end, so that the connection can be used again.
Task<std::string> read_message(HttpStream& stream) {
  Bytes body;
  const auto length = stream.head().content_length;
  if (!length || *length > kMaxErrorBodyBytes) co_return "";
  while (body.size() <= kMaxErrorBodyBytes) {
    const auto piece = co_await stream.read_some();
    if (!piece.ok() || piece->empty()) break;
    body.insert(body.end(), piece->begin(), piece->end());
  }
  co_return message_of(body);
}

Errc code_of(int status) {
  if (status == 401 || status == 403 || status == 451) return Errc::kDenied;
  if (status == 404 || status == 410) return Errc::kNotFound;
  if (status == 408 || status == 425 || status == 429 || status >= 500) return Errc::kUnavailable;
  return Errc::kInvalid;
}

bool is_answer(const RegistryEndpoint::Request& request, int status) {
  if (request.any_answer && status >= 400) {
    return status == 501 || code_of(status) != Errc::kUnavailable;
  }
  if (request.method == "GET") return status == 200 || status == 206;
  return status >= 200 && status < 300;
}

RegistryAuth::Target auth_target(const RegistryEndpoint::Config& config,
                                 const SourceOptions& options, std::string actions) {
  return {.base_url = config.base_url,
          .host = config.host,
          .repository = config.repository,
          .ca_file = config.ca_file,
          .docker_config = options.docker_config,
          .stall_timeout = options.stall_timeout,
          .actions = std::move(actions)};
}

}  // namespace

RegistryEndpoint::RegistryEndpoint(Ring& ring, HttpClient& http, Log& log, Config config,
                                   const SourceOptions& options)
    : x_ring(ring),
      x_http(http),
      x_config(std::move(config)),
      x_retry_base(options.retry_base),
      x_max_retry_after(options.max_retry_after),
      x_stall_timeout(options.stall_timeout),
      x_docker_config(options.docker_config),
      x_auth(ring, http, log, auth_target(x_config, options, "pull")),
      x_push_auth(ring, http, log, auth_target(x_config, options, "pull,push")) {}

Task<Result<std::unique_ptr<HttpStream>>> RegistryEndpoint::send(Request request,
                                                                 RetryBudget& budget) {
  for (;;) {
    auto answer = co_await attempt(request);
    Error error;
    milliseconds at_least{0};
    if (answer.ok()) {
      HttpStream& stream = **answer;
      if (is_answer(request, stream.head().status)) co_return answer;
      const std::string said = co_await read_message(stream);
      error = status_error(request, stream.head(), said);
      const auto asked = parse_retry_after(stream.head().header("retry-after"), std::time(nullptr));
      if (asked && *asked > x_max_retry_after) {
        error.context += ", it asks to wait " + std::to_string(asked->count() / 1000) +
                         " s, longer than this node waits";
        co_return error;
      }
      if (asked) at_least = *asked;
    } else {
      error = std::move(answer).error();
      if (error.code != Errc::kDenied) error = std::move(error).with(name_of(request.target));
    }
    if (error.code != Errc::kUnavailable) co_return error;
    const bool again = co_await wait_to_retry(budget, at_least, request.token);
    if (!again) co_return error;
  }
}

HttpRequest RegistryEndpoint::http_request(const Request& request,
                                           const std::string& authorization) const {
  HttpRequest http;
  http.method = request.method;
  http.url = url_of(request);
  http.body = request.body;
  http.range = request.range;
  http.stall_timeout = x_stall_timeout;
  if (!request.accept.empty()) http.headers.push_back("Accept: " + request.accept);
  if (!request.content_type.empty()) {
    http.headers.push_back("Content-Type: " + request.content_type);
  }
  if (!authorization.empty()) http.headers.push_back("Authorization: " + authorization);
  http.ca_file = x_config.ca_file;
  return http;
}

// One request, with one more after a 401 was answered.
Task<Result<std::unique_ptr<HttpStream>>> RegistryEndpoint::attempt(const Request& request) {
  RegistryAuth& auth = request.push ? x_push_auth : x_auth;
  const bool ours = is_ours(url_of(request));
  for (bool answered = false;; answered = true) {
    std::string authorization;
    if (ours) {
      CO_TRY(known, co_await auth.authorization(request.priority));
      authorization = std::move(known);
    }
    HttpRequest http = http_request(request, authorization);
    CO_TRY(stream, co_await x_http.open(std::move(http), request.priority, request.token));
    const HttpHead head = stream->head();
    // A challenge of another host (a blob store behind a redirect) gets none of our credentials.
    if (head.status != 401 || answered || !is_ours(head.effective_url)) {
      co_return std::move(stream);
    }
    co_await read_message(*stream);
    stream.reset();
    CO_TRY(co_await auth.answer(head, authorization, request.priority));
  }
}

Task<Result<HttpResponse>> RegistryEndpoint::fetch(Request request, uint64_t max_bytes,
                                                   RetryBudget& budget) {
  for (;;) {
    CO_TRY(stream, co_await send(request, budget));
    HttpResponse response{stream->head(), {}};
    const auto length = response.head.content_length;
    bool too_large = request.method != "HEAD" && length && *length > max_bytes;
    std::optional<Error> error;
    while (!too_large) {
      auto piece = co_await stream->read_some();
      if (!piece.ok()) {
        error = std::move(piece).error();
        break;
      }
      if (piece->empty()) co_return response;
      too_large = piece->size() > max_bytes - response.body.size();
      if (!too_large) response.body.insert(response.body.end(), piece->begin(), piece->end());
    }
    if (too_large) {
      co_return make_error(Errc::kInvalid, name_of(request.target) + " is larger than the " +
                                               std::to_string(max_bytes) + " bytes allowed");
    }
    stream.reset();
    bool again = error->code == Errc::kUnavailable;
    if (again) again = co_await wait_to_retry(budget, milliseconds(0), request.token);
    if (!again) co_return std::move(*error).with(name_of(request.target));
  }
}

Task<bool> RegistryEndpoint::wait_to_retry(RetryBudget& budget, milliseconds at_least,
                                           CancelToken token) {
  const unsigned attempt_number = budget.used;
  if (!budget.take()) co_return false;
  const auto delay = backoff(x_retry_base, attempt_number, static_cast<uint32_t>(x_random()));
  co_await x_ring.sleep(std::max(delay, at_least), token);
  co_return !token.cancelled();
}

std::string RegistryEndpoint::url_of(const Request& request) const {
  if (!request.url.empty()) return request.url;
  std::string url = x_config.base_url + "/v2/" + x_config.repository + "/" + request.target;
  std::string query = request.query;
  if (is_mirror()) query += (query.empty() ? "ns=" : "&ns=") + x_config.mirror_of;
  return query.empty() ? url : url + "?" + query;
}

bool RegistryEndpoint::is_ours(const std::string& url) const {
  return origin_of(url) == origin_of(x_config.base_url);
}

Result<std::string> RegistryEndpoint::resolve_url(const std::string& base,
                                                  const std::string& location) const {
  const std::unique_ptr<CURLU, void (*)(CURLU*)> parts(curl_url(), curl_url_cleanup);
  char* text = nullptr;
  const bool parsed = !location.empty() &&
                      curl_url_set(parts.get(), CURLUPART_URL, base.c_str(), 0) == CURLUE_OK &&
                      curl_url_set(parts.get(), CURLUPART_URL, location.c_str(), 0) == CURLUE_OK &&
                      curl_url_set(parts.get(), CURLUPART_FRAGMENT, nullptr, 0) == CURLUE_OK &&
                      curl_url_get(parts.get(), CURLUPART_URL, &text, 0) == CURLUE_OK;
  const std::string url = parsed ? text : "";
  curl_free(text);
  const bool tls = url.starts_with("https://");
  const bool plain = url.starts_with("http://") && !base.starts_with("https://");
  if (tls || plain) return url;
  return make_error(Errc::kInvalid, "registry " + x_config.host +
                                        " sends this node to a place that is no URL or not https");
}

bool RegistryEndpoint::resting() const {
  return std::chrono::steady_clock::now() < x_rests_until;
}

void RegistryEndpoint::rest() {
  x_rests_until = std::chrono::steady_clock::now() + kMirrorRest;
}

std::string RegistryEndpoint::name_of(const std::string& target) const {
  return "registry " + x_config.host + ": " + target + " of " + x_config.repository;
}

Error RegistryEndpoint::status_error(const Request& request, const HttpHead& head,
                                     const std::string& said) const {
  Errc code = code_of(head.status);
  if (request.push && head.status == 405) code = Errc::kUnsupported;
  const std::string number = " (" + std::to_string(head.status) + ")";
  std::string host = x_config.host;
  const std::string origin = origin_of(head.effective_url);
  if (origin != origin_of(x_config.base_url)) host += " through " + origin;
  std::string text;
  if (code == Errc::kDenied && request.push) {
    text = "registry " + host + " refused a push to " + x_config.repository + number +
           ": add credentials that may push to " + DockerConfig::file_of(x_docker_config);
  } else if (code == Errc::kDenied) {
    text = "registry " + host + " refused credentials for " + x_config.repository + number +
           ": add them to " + DockerConfig::file_of(x_docker_config);
  } else if (request.push && code == Errc::kUnsupported) {
    text = "registry " + host + " lets nobody push to " + x_config.repository + number +
           ": it is read-only";
  } else if (code == Errc::kNotFound) {
    text = "registry " + host + " has no " + request.target + " in " + x_config.repository +
           number + ": check the name, or push it";
  } else if (head.status >= 300 && head.status < 400) {
    text = "registry " + host + " sends " + request.method + " of " + request.target + " in " +
           x_config.repository + " elsewhere" + number + ": name the host it is to go to";
  } else if (head.status == 416) {
    text = "registry " + host + " has no such range of " + request.target + " in " +
           x_config.repository + number + ": its copy is shorter than its descriptor says";
  } else if (head.status == 429) {
    text = "registry " + host + " limits requests for " + x_config.repository + number +
           ": try again later";
  } else {
    text = "registry " + host + " failed on " + request.target + " of " + x_config.repository +
           number + ": try again later";
  }
  if (!said.empty()) text += ", it says \"" + said + "\"";
  return make_error(code, std::move(text));
}

}  // namespace dedup
