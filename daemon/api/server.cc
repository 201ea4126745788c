#include "api/server.h"

#include <httplib.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <map>
#include <set>
#include <thread>

#include "api/line_queue.h"
#include "api/request_body.h"
#include "api/unix_socket.h"

namespace dedup {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

// A thread is taken for as long as its call runs, so this also bounds calls that run at once.
constexpr size_t kHandlerThreads = 32;
constexpr auto kWriteTimeout = 10s;  // a reader that takes nothing for so long has lost its answer
constexpr auto kReaderCheck = 500ms;
constexpr time_t kIdleConnectionSeconds = 1;  // stop() waits for idle connections
constexpr size_t kRequestsPerConnection = 1000;
constexpr const char* kJsonType = "application/json";
constexpr const char* kLinesType = "application/x-ndjson";

// httplib on a listening socket of ours, which must outlive its threads: stop() of httplib closes
// the socket under the accepting thread.
class SocketServer final : public httplib::Server {
 public:
  // Accepts until stop_accepting(); false when accept failed for another reason (`fd` is then
  // closed).
  bool accept_on(int fd) {
    svr_sock_ = fd;
    return listen_after_bind();
  }
  void stop_accepting() { svr_sock_ = INVALID_SOCKET; }
};

void set_error(httplib::Response& response, const Error& error) {
  response.status = http_status(error.code);
  response.set_content(dump_json(error_json(error)) + "\n", kJsonType);
}

// What httplib refuses by itself has a status and no body.
void explain_status(const httplib::Request& request, httplib::Response& response) {
  if (!response.body.empty()) return;
  Error error = make_error(Errc::kInvalid, "the request is not HTTP this server understands");
  if (response.status == 404) {
    error = make_error(Errc::kNotFound, "unknown path " + request.path);
  } else if (response.status == 413) {
    error = make_error(Errc::kInvalid, "the request body is larger than " +
                                           std::to_string(kMaxBodyBytes) + " bytes");
  } else if (response.status >= 500) {
    error = make_error(Errc::kIo, "the server failed to answer");
  }
  response.set_content(dump_json(error_json(error)) + "\n", kJsonType);
}

void explain_exception(const httplib::Request&, httplib::Response& response,
                       std::exception_ptr thrown) {
  std::string what = "unknown exception";
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {
  }
  set_error(response, make_error(Errc::kIo, "the request failed: " + what));
}

// RFC 9112: a request with neither length nor transfer coding has no body; httplib would read on
// until its timeout.
httplib::Server::HandlerResponse complete_headers(const httplib::Request& request,
                                                  httplib::Response&) {
  if (!request.has_header("Content-Length") && !request.has_header("Transfer-Encoding")) {
    const_cast<httplib::Request&>(request).set_header("Content-Length", "0");
  }
  return httplib::Server::HandlerResponse::Unhandled;
}

Result<ApiRequest> read_request(const httplib::Request& request) {
  ApiRequest result;
  TRY(body, parse_body(request.body));
  result.body = std::move(body);
  const std::string type = request.get_header_value("Content-Type");
  // httplib mixes a form body into the query.
  if (type.rfind("application/x-www-form-urlencoded", 0) != 0) {
    for (const auto& [name, value] : request.params) result.query.emplace(name, value);
  }
  return result;
}

// A handler starts on the loop: its first statement, too, is for that thread.
Task<Result<json>> run_handler(const ApiRoute* route, ApiRequest request, ApiProgress progress) {
  co_return co_await route->handler(std::move(request), std::move(progress));
}

std::string event_line(std::string_view event, json object) {
  if (!object.is_object()) object = json::object();
  object["event"] = event;
  return dump_json(object) + "\n";
}

Task<void> run_streaming(const ApiRoute* route, ApiRequest request,
                         std::shared_ptr<LineQueue> lines) {
  ApiProgress progress = [lines](json object) {
    if (lines->wanted()) lines->push(event_line("progress", std::move(object)));
  };
  auto result = co_await run_handler(route, std::move(request), std::move(progress));
  lines->finish(result.ok() ? event_line("done", std::move(result).value())
                            : event_line("error", error_json(result.error())));
}

class HttpApiServer final : public ApiServer {
 public:
  HttpApiServer(Ring& ring, Log& log, std::string path, UniqueFd listener,
                std::vector<ApiRoute> routes)
      : x_ring(ring),
        x_log(log),
        x_path(std::move(path)),
        x_listener(std::move(listener)),
        x_routes(std::move(routes)) {
    struct stat status {};
    if (::stat(x_path.c_str(), &status) == 0) x_inode = status.st_ino;
    configure();
    x_thread = std::thread([this] { accept_connections(); });
  }

  ~HttpApiServer() override {
    x_stopping = true;
    x_http.stop_accepting();
    ::shutdown(x_listener.get(), SHUT_RDWR);
    x_thread.join();
    block_on(x_ring, join_streams(&x_streams));
    // A successor may have bound its own socket by now.
    struct stat status {};
    if (::stat(x_path.c_str(), &status) == 0 && status.st_ino == x_inode) {
      ::unlink(x_path.c_str());
    }
  }

 private:
  static Task<void> join_streams(TaskScope* streams) { co_await streams->join(); }

  void configure() {
    x_http.new_task_queue = [] { return new httplib::ThreadPool(kHandlerThreads); };
    x_http.set_payload_max_length(kMaxBodyBytes);
    x_http.set_write_timeout(kWriteTimeout);
    x_http.set_keep_alive_max_count(kRequestsPerConnection);
    x_http.set_keep_alive_timeout(kIdleConnectionSeconds);
    x_http.set_pre_routing_handler(complete_headers);
    x_http.set_exception_handler(explain_exception);
    x_http.set_error_handler(httplib::Server::Handler(explain_status));
    std::map<std::string, std::set<std::string>> methods_of;
    for (const ApiRoute& route : x_routes) {
      methods_of[route.path].insert(route.method);
      add(route.method, route.path,
          [this, &route](const httplib::Request& request, httplib::Response& response) {
            serve(route, request, response);
          });
    }
    for (const auto& [path, methods] : methods_of) refuse_other_methods(path, methods);
  }

  void refuse_other_methods(const std::string& path, const std::set<std::string>& methods) {
    std::string allowed;
    for (const std::string& method : methods) allowed += (allowed.empty() ? "" : ", ") + method;
    for (const char* method : {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}) {
      if (methods.count(method) != 0) continue;
      add(method, path, [allowed](const httplib::Request& request, httplib::Response& response) {
        set_error(response, make_error(Errc::kInvalid, request.path + " takes " + allowed +
                                                           ", not " + request.method));
        response.status = 405;
        response.set_header("Allow", allowed);
      });
    }
  }

  void add(const std::string& method, const std::string& path, httplib::Server::Handler handler) {
    std::string pattern;  // httplib matches regular expressions
    for (const char c : path) {
      if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '/') pattern += '\\';
      pattern += c;
    }
    if (method == "GET") x_http.Get(pattern, std::move(handler));
    if (method == "POST") x_http.Post(pattern, std::move(handler));
    if (method == "PUT") x_http.Put(pattern, std::move(handler));
    if (method == "PATCH") x_http.Patch(pattern, std::move(handler));
    if (method == "DELETE") x_http.Delete(pattern, std::move(handler));
    if (method == "OPTIONS") x_http.Options(pattern, std::move(handler));
  }

  void serve(const ApiRoute& route, const httplib::Request& request, httplib::Response& response) {
    auto parsed = read_request(request);
    if (!parsed.ok()) return set_error(response, parsed.error());
    if (route.streaming) return serve_lines(route, std::move(parsed).value(), response);
    auto result = block_on(x_ring, run_handler(&route, std::move(parsed).value(), [](json) {}));
    if (!result.ok()) return set_error(response, result.error());
    response.status = 200;
    response.set_content(dump_json(*result) + "\n", kJsonType);
  }

  void serve_lines(const ApiRoute& route, ApiRequest request, httplib::Response& response) {
    auto lines = std::make_shared<LineQueue>();
    auto start = [this, &route, lines, shared = std::make_shared<ApiRequest>(std::move(request))] {
      x_streams.spawn(run_streaming(&route, std::move(*shared), lines));
    };
    x_ring.post(std::move(start));
    response.status = 200;
    response.set_chunked_content_provider(
        kLinesType,
        [lines](size_t, httplib::DataSink& sink) {
          const auto line = lines->next(kReaderCheck);
          if (!line) return sink.is_writable();
          if (!sink.write(line->text.data(), line->text.size())) return false;
          if (line->last) sink.done();
          return true;
        },
        [lines](bool) { lines->abandon(); });
  }

  void accept_connections() {
    // Also for the threads httplib makes here: signals are for the others, and a system call of
    // httplib that is interrupted counts as failed.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    while (!x_stopping) {
      UniqueFd fd(::fcntl(x_listener.get(), F_DUPFD_CLOEXEC, 0));
      if (fd.valid() && !x_http.accept_on(fd.get())) {
        [[maybe_unused]] const int closed_by_httplib = fd.release();
      }
      if (x_stopping) return;
      x_log.warn("the API server stopped accepting and starts again", {{"socket", x_path}});
      std::this_thread::sleep_for(100ms);
    }
  }

  Ring& x_ring;
  Log& x_log;
  const std::string x_path;
  const UniqueFd x_listener;
  ino_t x_inode = 0;
  const std::vector<ApiRoute> x_routes;
  TaskScope x_streams;  // loop thread
  std::atomic<bool> x_stopping{false};
  SocketServer x_http;
  std::thread x_thread;
};

}  // namespace

Result<std::unique_ptr<ApiServer>> ApiServer::open(Ring& ring, Log& log,
                                                   const std::string& socket_path,
                                                   std::vector<ApiRoute> routes) {
  TRY(listener, listen_unix(socket_path));
  return std::unique_ptr<ApiServer>(std::make_unique<HttpApiServer>(
      ring, log, socket_path, std::move(listener), std::move(routes)));
}

}  // namespace dedup
