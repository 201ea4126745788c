#include "source/registry_endpoint.h"

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
      x_auth(ring, http, log,
             {x_config.base_url, x_config.host, x_config.repository, x_config.ca_file,
              options.docker_config, options.stall_timeout}) {}

Task<Result<std::unique_ptr<HttpStream>>> RegistryEndpoint::get(Request request,
                                                                RetryBudget& budget) {
  for (;;) {
    auto answer = co_await attempt(request);
    Error error;
    milliseconds at_least{0};
    if (answer.ok()) {
      HttpStream& stream = **answer;
      const int status = stream.head().status;
      if (status == 200 || status == 206) co_return answer;
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
    const bool again = co_await wait_to_retry(budget, at_least);
    if (!again) co_return error;
  }
}

// One request, with one more after a 401 was answered.
Task<Result<std::unique_ptr<HttpStream>>> RegistryEndpoint::attempt(const Request& request) {
  HttpRequest http;
  http.url = x_config.base_url + "/v2/" + x_config.repository + "/" + request.target;
  if (is_mirror()) http.url += "?ns=" + x_config.mirror_of;
  http.range = request.range;
  http.ca_file = x_config.ca_file;
  http.stall_timeout = x_stall_timeout;
  for (bool answered = false;; answered = true) {
    CO_TRY(authorization, co_await x_auth.authorization(request.priority));
    http.headers.clear();
    if (!request.accept.empty()) http.headers.push_back("Accept: " + request.accept);
    if (!authorization.empty()) http.headers.push_back("Authorization: " + authorization);
    CO_TRY(stream, co_await x_http.open(http, request.priority));
    const HttpHead head = stream->head();
    // A challenge of another host (a blob store behind a redirect) gets none of our credentials.
    const bool ours = origin_of(head.effective_url) == origin_of(x_config.base_url);
    if (head.status != 401 || answered || !ours) co_return std::move(stream);
    co_await read_message(*stream);
    stream.reset();
    CO_TRY(co_await x_auth.answer(head, authorization, request.priority));
  }
}

Task<Result<HttpResponse>> RegistryEndpoint::fetch(Request request, uint64_t max_bytes,
                                                   RetryBudget& budget) {
  for (;;) {
    CO_TRY(stream, co_await get(request, budget));
    HttpResponse response{stream->head(), {}};
    const auto length = response.head.content_length;
    bool too_large = length && *length > max_bytes;
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
    if (again) again = co_await wait_to_retry(budget, milliseconds(0));
    if (!again) co_return std::move(*error).with(name_of(request.target));
  }
}

Task<bool> RegistryEndpoint::wait_to_retry(RetryBudget& budget, milliseconds at_least) {
  const unsigned attempt_number = budget.used;
  if (!budget.take()) co_return false;
  const auto delay = backoff(x_retry_base, attempt_number, static_cast<uint32_t>(x_random()));
  co_await x_ring.sleep(std::max(delay, at_least));
  co_return true;
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
  const Errc code = code_of(head.status);
  const std::string number = " (" + std::to_string(head.status) + ")";
  std::string host = x_config.host;
  const std::string origin = origin_of(head.effective_url);
  if (origin != origin_of(x_config.base_url)) host += " through " + origin;
  std::string text;
  if (code == Errc::kDenied) {
    text = "registry " + host + " refused credentials for " + x_config.repository + number +
           ": add them to " + DockerConfig::file_of(x_docker_config);
  } else if (code == Errc::kNotFound) {
    text = "registry " + host + " has no " + request.target + " in " + x_config.repository +
           number + ": check the name, or push it";
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
