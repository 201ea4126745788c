#include "api/client.h"

#include <httplib.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "api/request_body.h"
#include "api/server.h"
#include "api/unix_socket.h"

namespace dedup {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr auto kRetryPause = 50ms;
// A worker that restarts leaves its socket file, which refuses; a missing one is nearly always a
// daemon that does not run.
constexpr auto kMissingPatience = 300ms;
constexpr auto kStreamPatience = std::chrono::hours(24 * 7);
constexpr size_t kMaxLineBytes = 64 << 20;  // a check may list many bad chunks

std::string percent_encode(const std::string& text) {
  constexpr const char* kHex = "0123456789ABCDEF";
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || std::string_view("-._~/:").find(c) != std::string_view::npos) {
      result += c;
    } else {
      result += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return result;
}

Error unreachable(int number, std::string sentence) {
  return Error{Errc::kUnavailable, number, std::move(sentence)};
}

httplib::Request make_request(const std::string& method, const std::string& path, const json& body,
                              const ApiClient::Query& query) {
  httplib::Request request;
  request.method = method;
  request.path = path;
  char separator = '?';
  for (const auto& [name, value] : query) {
    request.path += separator + percent_encode(name) + "=" + percent_encode(value);
    separator = '&';
  }
  request.set_header("Host", "localhost");  // httplib would take the socket's path
  if (body.is_object()) {
    request.body = dump_json(body);
    request.set_header("Content-Type", "application/json");
  }
  return request;
}

httplib::Client make_client(const std::string& socket, std::chrono::seconds patience) {
  httplib::Client client(socket, 1);  // the port is ignored
  client.set_address_family(AF_UNIX);
  client.set_url_encode(false);
  client.set_read_timeout(patience);
  return client;
}

Error transfer_error(httplib::Error error, const std::string& socket) {
  if (error == httplib::Error::Connection) {
    return unreachable(ECONNREFUSED, "no dedupd answers on " + socket);
  }
  return unreachable(ECONNRESET, "dedupd on " + socket + " went away before it answered (" +
                                     to_string(error) + "); repeating the command is safe");
}

Result<json> parse_answer(const std::string& text) {
  json answer = json::parse(text, nullptr, false);
  if (answer.is_object()) return answer;
  return make_error(Errc::kIo,
                    "dedupd answered something that is not a JSON object: " + text.substr(0, 100));
}

// Splits what arrives into lines and tells progress from the end.
class LineReader {
 public:
  explicit LineReader(const ApiClient::OnProgress& on_progress) : x_on_progress(on_progress) {}

  // False when the transfer should end.
  bool take(std::string_view bytes) {
    while (!bytes.empty()) {
      const size_t end = bytes.find('\n');
      x_line += bytes.substr(0, end);
      if (x_line.size() > kMaxLineBytes) return fail("dedupd sent a line that is too long");
      if (end == std::string_view::npos) return true;
      bytes.remove_prefix(end + 1);
      if (!take_line()) return false;
    }
    return true;
  }

  std::optional<Result<json>>& outcome() { return x_outcome; }

 private:
  bool fail(std::string sentence) {
    x_outcome = make_error(Errc::kIo, std::move(sentence));
    return false;
  }

  bool take_line() {
    const std::string text = std::exchange(x_line, {});
    if (text.empty()) return true;
    json line = json::parse(text, nullptr, false);
    const auto event = line.is_object() ? line.find("event") : line.end();
    if (!line.is_object() || event == line.end() || !event->is_string()) {
      return fail("dedupd sent a line that is not an event: " + text.substr(0, 100));
    }
    if (*event == "progress") {
      if (x_on_progress) x_on_progress(line);
    } else if (*event == "done") {
      line.erase("event");
      x_outcome = std::move(line);
    } else {
      x_outcome = error_from_json(line);
    }
    return true;
  }

  const ApiClient::OnProgress& x_on_progress;
  std::string x_line;
  std::optional<Result<json>> x_outcome;
};

}  // namespace

bool daemon_unreachable(const Error& error) {
  return error.code == Errc::kUnavailable && error.sys_errno != 0;
}

// Also tells why nobody answers, which httplib does not.
Result<void> ApiClient::wait_for_daemon() const {
  const auto start = std::chrono::steady_clock::now();
  const auto patience = x_options.retry_refused_for;
  while (true) {
    auto fd = connect_unix(x_options.socket);
    if (fd.ok()) return {};
    const int number = fd.error().sys_errno;
    if (number == 0) return std::move(fd).error();
    if (number == EACCES || number == EPERM) {
      return unreachable(
          number, "no permission to open " + x_options.socket + ": run this command as root");
    }
    const auto waited = std::chrono::steady_clock::now() - start;
    const bool again =
        number == ECONNREFUSED
            ? waited < patience
            : number == ENOENT && waited < std::min<decltype(patience)>(patience, kMissingPatience);
    if (!again) {
      return unreachable(number, "no dedupd answers on " + x_options.socket +
                                     ": start it with \"systemctl start dedupd\" or \"dedupd\", "
                                     "or give --socket");
    }
    std::this_thread::sleep_for(kRetryPause);
  }
}

Result<json> ApiClient::call(const std::string& method, const std::string& path, const json& body,
                             const Query& query) const {
  TRY(wait_for_daemon());
  auto client = make_client(x_options.socket, x_options.answer_timeout);
  const auto answer = client.send(make_request(method, path, body, query));
  if (!answer) return transfer_error(answer.error(), x_options.socket);
  TRY(value, parse_answer(answer->body));
  if (answer->status != 200) return error_from_json(value);
  return value;
}

Result<json> ApiClient::stream(const std::string& path, const json& body,
                               const OnProgress& on_progress) const {
  TRY(wait_for_daemon());
  auto client = make_client(x_options.socket, kStreamPatience);
  auto request = make_request("POST", path, body, {});
  LineReader lines(on_progress);
  int status = 0;
  std::string refusal;
  request.response_handler = [&status](const httplib::Response& response) {
    status = response.status;
    return true;
  };
  request.content_receiver = [&](const char* bytes, size_t length, uint64_t, uint64_t) {
    if (status == 200) return lines.take({bytes, length});
    refusal.append(bytes, length);
    return refusal.size() <= kMaxLineBytes;
  };
  const auto answer = client.send(request);
  if (lines.outcome()) return std::move(*lines.outcome());
  if (!answer || status == 200) {
    return transfer_error(answer ? httplib::Error::Read : answer.error(), x_options.socket);
  }
  TRY(value, parse_answer(refusal));
  return error_from_json(value);
}

}  // namespace dedup
