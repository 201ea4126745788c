#include "io/http.h"

#include "io/http_transfer.h"

namespace dedup {
namespace {

// Places for transfers. A quarter is kept for blocked readers: long background streams can hold all
// the others.
class Slots {
 public:
  Slots(Ring& ring, unsigned total)
      : x_all(ring, std::max(1U, total)), x_bulk(ring, std::max(1U, total - total / 4)) {}

  // False: cancelled while waiting.
  Task<bool> take(Priority priority, CancelToken token, std::vector<Semaphore::Permit>* permits) {
    if (priority != Priority::kOnDemand) {
      Semaphore::Permit bulk = co_await x_bulk.acquire(1, priority, token);
      if (!bulk.held()) co_return false;
      permits->push_back(std::move(bulk));
    }
    Semaphore::Permit place = co_await x_all.acquire(1, priority, token);
    if (!place.held()) co_return false;
    permits->push_back(std::move(place));
    co_return true;
  }

 private:
  Semaphore x_all;
  Semaphore x_bulk;
};

class CurlClient final : public HttpClient {
 public:
  CurlClient(std::unique_ptr<HttpLoop> loop, Ring& ring, const HttpOptions& options)
      : x_ring(ring),
        x_options(options),
        x_loop(std::move(loop)),
        x_slots(ring, options.max_transfers) {}

  Task<Result<std::unique_ptr<HttpStream>>> open(HttpRequest request, Priority priority,
                                                 CancelToken token) override {
    std::vector<Semaphore::Permit> permits;
    // Host first: a transfer that waits for its host holds no place others could use.
    bool taken = co_await host_slots(request.url).take(priority, token, &permits);
    if (taken) taken = co_await x_slots.take(priority, token, &permits);
    if (!taken) co_return make_error(Errc::kCancelled, "request cancelled before it was sent");
    auto transfer = std::make_unique<HttpTransfer>(*x_loop, std::move(request), std::move(permits));
    CO_TRY(transfer->start(token));
    CO_TRY(co_await transfer->wait_head());
    co_return std::unique_ptr<HttpStream>(std::move(transfer));
  }

  Task<Result<HttpResponse>> fetch(HttpRequest request, Priority priority, uint64_t max_body_bytes,
                                   CancelToken token) override {
    const std::string origin = origin_of(request.url);
    CO_TRY(stream, co_await open(std::move(request), priority, token));
    const auto too_large = [&] {
      return make_error(Errc::kInvalid, origin + ": answer of more than " +
                                            std::to_string(max_body_bytes) + " bytes refused");
    };
    HttpResponse response{stream->head(), {}};
    for (;;) {
      CO_TRY(piece, co_await stream->read_some());
      if (piece.empty()) co_return response;
      if (piece.size() > max_body_bytes - response.body.size()) co_return too_large();
      response.body.insert(response.body.end(), piece.begin(), piece.end());
    }
  }

  const HttpCounters& counters() const override { return x_loop->counters(); }

 private:
  Slots& host_slots(const std::string& url) {
    auto& slots = x_hosts[origin_of(url)];
    if (!slots) slots = std::make_unique<Slots>(x_ring, x_options.max_connections_per_host);
    return *slots;
  }

  Ring& x_ring;
  HttpOptions x_options;
  std::unique_ptr<HttpLoop> x_loop;
  Slots x_slots;
  std::map<std::string, std::unique_ptr<Slots>> x_hosts;
};

}  // namespace

std::string origin_of(std::string_view url) {
  const size_t scheme = url.find("://");
  const size_t host = scheme == url.npos ? 0 : scheme + 3;
  std::string origin(url.substr(0, url.find_first_of("/?#", host)));
  for (char& c : origin) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return origin;
}

std::string HttpHead::header(const std::string& lower_case_name) const {
  const auto found = headers.find(lower_case_name);
  return found == headers.end() ? std::string() : found->second;
}

Result<std::unique_ptr<HttpClient>> HttpClient::open(Ring& ring, HttpOptions options) {
  TRY(loop, HttpLoop::open(ring, options));
  return std::unique_ptr<HttpClient>(std::make_unique<CurlClient>(std::move(loop), ring, options));
}

}  // namespace dedup
