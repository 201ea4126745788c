// HttpClient: HTTP(S) on libcurl's multi interface, driven by the ring (socket polls and one timer;
// no thread). Owned by main; everything runs on the loop thread. Connections are kept alive and
// shared, HTTP/2 is used where offered. Bodies arrive by pulling: a response buffers at most
// kStreamWindowBytes, then the transfer pauses.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_range.h"
#include "base/bytes.h"
#include "base/log.h"
#include "base/priority.h"
#include "base/result.h"
#include "io/cancel.h"
#include "io/ring.h"
#include "io/sync.h"

namespace dedup {

inline constexpr uint64_t kMaxRequestBodyBytes = uint64_t{16} << 20;

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::string>
      headers;       // "Name: value"; Authorization is NOT forwarded to another host on redirect
  std::string body;  // for POST/PUT; at most kMaxRequestBodyBytes
  std::optional<ByteRange> range;  // printed as an inclusive Range header
  std::string ca_file;             // extra trust root, empty: system's
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds stall_timeout{30'000};  // no byte for so long: kUnavailable
  int max_redirects = 5;  // of GET and HEAD; other methods are not sent anywhere else than asked
};

struct HttpHead {
  int status = 0;
  std::string effective_url;
  std::multimap<std::string, std::string>
      headers;  // names in lower case, of the last response only
  std::optional<uint64_t> content_length;
  std::string header(const std::string& lower_case_name) const;  // first value or ""
};

struct HttpResponse {
  HttpHead head;
  Bytes body;
};

struct HttpOptions {
  unsigned max_connections_per_host = 16;
  unsigned max_transfers = 32;       // in flight; further requests wait by priority
  uint64_t max_bytes_in_memory = 0;  // unused bodies; 0: no limit beyond the per-stream window
};

struct HttpCounters {
  uint64_t requests = 0;    // responses begun, redirects not counted
  uint64_t body_bytes = 0;  // received, all responses
  uint64_t failures = 0;    // transfers that ended without a complete response
};

// One response being received. Destroying it early cancels the transfer.
class HttpStream {
 public:
  virtual ~HttpStream() = default;
  virtual const HttpHead& head() const = 0;
  // The next bytes, at least one, as many as are there; empty at the end of the body. Errors as
  // HttpClient::open.
  virtual Task<Result<Bytes>> read_some() = 0;
};

// "scheme://host[:port]" of a URL, lower case: who is being talked to.
std::string origin_of(std::string_view url);

class HttpClient {
 public:
  static Result<std::unique_ptr<HttpClient>> open(Ring& ring, HttpOptions options = {});
  virtual ~HttpClient() = default;  // no transfer may be in flight

  // Sends the request and waits for the final response's head; any HTTP status is a success here,
  // a redirect of a POST or PUT too.
  //   errors  kUnavailable (resolve, connect, TLS handshake, stall, cut body), kDenied (certificate
  //   refused),
  //           kInvalid (bad URL, body too large, redirect loop or to another scheme than
  //           http/https), kCancelled.
  virtual Task<Result<std::unique_ptr<HttpStream>>> open(HttpRequest request, Priority priority,
                                                         CancelToken token = {}) = 0;

  // open() and the whole body; more than max_body_bytes is kInvalid.
  virtual Task<Result<HttpResponse>> fetch(HttpRequest request, Priority priority,
                                           uint64_t max_body_bytes, CancelToken token = {}) = 0;
  virtual const HttpCounters& counters() const = 0;
};

}  // namespace dedup
