#include "io/http_transfer.h"

#include <algorithm>
#include <charconv>

namespace dedup {
namespace {

constexpr size_t kMaxHeadBytes = 256 * 1024;  // of a request's responses together
constexpr long kReceiveBufferBytes = 256 * 1024;

bool has_control_character(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && std::string_view(" \t\r\n").find(text.back()) != text.npos) {
    text.remove_suffix(1);
  }
  return text;
}

// Signed URLs carry their credentials in the query, and user:password may stand before the host.
std::string without_secrets(std::string_view url) {
  url = url.substr(0, url.find_first_of("?#"));
  const size_t scheme = url.find("://");
  if (scheme == url.npos) return std::string(url);
  const size_t host = scheme + 3;
  const size_t slash = std::min(url.find('/', host), url.size());
  const size_t at = url.substr(0, slash).rfind('@');
  std::string shown(url.substr(0, host));
  return shown.append(url.substr(at == url.npos || at < host ? host : at + 1));
}

// Loopback is never reached through a proxy, whatever the environment says for the rest.
std::string no_proxy() {
  std::string hosts = "localhost,127.0.0.0/8,::1";
  for (const char* name : {"no_proxy", "NO_PROXY"}) {
    if (const char* value = getenv(name)) return hosts.append(",").append(value);
  }
  return hosts;
}

}  // namespace

HttpTransfer::HttpTransfer(HttpLoop& loop, HttpRequest request,
                           std::vector<Semaphore::Permit> permits)
    : x_loop(loop), x_request(std::move(request)), x_permits(std::move(permits)) {}

HttpTransfer::~HttpTransfer() {
  if (!x_done) end(std::nullopt);
  drop_buffer();
}

Result<void> HttpTransfer::start(CancelToken token) {
  TRY(set_up());
  if (token.cancelled()) return error_named(Errc::kCancelled, "cancelled");
  if (token.source() != nullptr) link(*token.source());
  return x_loop.add(*this);
}

Result<void> HttpTransfer::set_up() {
  if (has_control_character(x_request.url)) {
    return make_error(Errc::kInvalid, "URL with control characters");
  }
  if (x_request.body.size() > kMaxRequestBodyBytes) {
    return error_named(Errc::kInvalid,
                       "a body of " + std::to_string(x_request.body.size()) + " bytes is refused");
  }
  x_easy.reset(curl_easy_init());
  if (!x_easy) return make_error(Errc::kUnavailable, "curl_easy_init failed: out of memory");
  CURL* easy = x_easy.get();
  const bool tls = lower_case(x_request.url.substr(0, 8)) == "https://";
  curl_easy_setopt(easy, CURLOPT_PRIVATE, this);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, x_error_text.data());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);  // a cancelled resolver is not waited for
  curl_easy_setopt(easy, CURLOPT_URL, x_request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  // A redirect never leaves TLS.
  curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, tls ? "https" : "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, follows_redirects() ? 1L : 0L);
  curl_easy_setopt(easy, CURLOPT_MAXREDIRS, static_cast<long>(x_request.max_redirects));
  curl_easy_setopt(easy, CURLOPT_NOPROXY, no_proxy().c_str());
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "dedup-snapshotter");
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kReceiveBufferBytes);
  curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(x_request.connect_timeout.count()));
  // curl adds CAINFO to the system's CAPATH, so the extra root does not replace the others.
  if (!x_request.ca_file.empty()) {
    curl_easy_setopt(easy, CURLOPT_CAINFO, x_request.ca_file.c_str());
  }
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &HttpTransfer::on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &HttpTransfer::on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, &HttpTransfer::on_connected);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, this);
  set_up_method();
  for (const auto& header : x_request.headers) {
    if (has_control_character(header)) {
      return error_named(Errc::kInvalid, "request header with control characters");
    }
    x_headers.reset(curl_slist_append(x_headers.release(), header.c_str()));
  }
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, x_headers.get());
  return {};
}

void HttpTransfer::set_up_method() {
  CURL* easy = x_easy.get();
  const std::string& method = x_request.method;
  if (method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (method == "POST" || method == "PUT" || !x_request.body.empty()) {
    set_up_body();
    if (method != "POST") curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method.c_str());
  } else if (method != "GET") {
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method.c_str());
  }
  if (const auto& range = x_request.range; range && !range->empty()) {
    const std::string text = std::to_string(range->offset) + "-" + std::to_string(range->end() - 1);
    curl_easy_setopt(easy, CURLOPT_RANGE, text.c_str());
  }
}

void HttpTransfer::set_up_body() {
  CURL* easy = x_easy.get();
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                   static_cast<curl_off_t>(x_request.body.size()));
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, x_request.body.data());
  curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, &HttpTransfer::on_progress);
  curl_easy_setopt(easy, CURLOPT_XFERINFODATA, this);
  x_headers.reset(curl_slist_append(x_headers.release(), "Expect:"));
  const bool typed = std::any_of(
      x_request.headers.begin(), x_request.headers.end(),
      [](const std::string& header) { return lower_case(header).starts_with("content-type:"); });
  // Without this curl calls every body a form.
  if (!typed) x_headers.reset(curl_slist_append(x_headers.release(), "Content-Type:"));
}

int HttpTransfer::on_connected(void* self, char*, char*, int, int) {
  auto* transfer = static_cast<HttpTransfer*>(self);
  transfer->x_last_progress = HttpLoop::Clock::now();
  transfer->x_loop.arm_stall_timer();
  return CURL_PREREQFUNC_OK;
}

// Bytes of the request's body that leave are progress like those that arrive.
int HttpTransfer::on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t sent) {
  auto* transfer = static_cast<HttpTransfer*>(self);
  if (sent == std::exchange(transfer->x_sent_bytes, sent)) return 0;
  transfer->x_last_progress = HttpLoop::Clock::now();
  return 0;
}

size_t HttpTransfer::on_header(char* data, size_t size, size_t count, void* self) {
  auto* transfer = static_cast<HttpTransfer*>(self);
  const size_t bytes = size * count;
  transfer->x_head_bytes += bytes;
  if (transfer->x_head_bytes > kMaxHeadBytes) return 0;  // ends it as CURLE_WRITE_ERROR
  transfer->header_line({data, bytes});
  return bytes;
}

void HttpTransfer::header_line(std::string_view line) {
  x_last_progress = HttpLoop::Clock::now();
  if (x_head_ready) return;  // trailers
  if (line.starts_with("HTTP/")) {
    x_head = {};
    const size_t space = line.find(' ');
    if (space != line.npos) {
      const auto digits = line.substr(space + 1, 3);
      std::from_chars(digits.data(), digits.data() + digits.size(), x_head.status);
    }
    return;
  }
  if (trimmed(line).empty()) return head_complete();
  const size_t colon = line.find(':');
  if (colon == line.npos) return;
  x_head.headers.emplace(lower_case(trimmed(line.substr(0, colon))),
                         trimmed(line.substr(colon + 1)));
}

// Heads of interim responses and of redirects that curl follows are forgotten.
void HttpTransfer::head_complete() {
  const int status = x_head.status;
  const bool redirect =
      status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
  const bool followed = redirect && follows_redirects() && x_head.headers.contains("location");
  if (status < 200 || followed) return;
  const char* url = nullptr;
  curl_easy_getinfo(x_easy.get(), CURLINFO_EFFECTIVE_URL, &url);
  x_head.effective_url = url != nullptr ? url : x_request.url;
  const std::string length = x_head.header("content-length");
  uint64_t bytes = 0;
  const auto parsed = std::from_chars(length.data(), length.data() + length.size(), bytes);
  if (!length.empty() && parsed.ec == std::errc() && parsed.ptr == length.data() + length.size()) {
    x_head.content_length = bytes;
  }
  x_head_ready = true;
  ++x_loop.counters().requests;
  wake();
}

size_t HttpTransfer::on_body(char* data, size_t size, size_t count, void* self) {
  return static_cast<HttpTransfer*>(self)->body_bytes(std::as_bytes(std::span(data, size * count)));
}

// A stream with an empty buffer always takes what came: the memory limit only bounds reading ahead,
// so streams never wait for each other's readers.
size_t HttpTransfer::body_bytes(std::span<const std::byte> bytes) {
  const uint64_t limit = x_loop.options().max_bytes_in_memory;
  const bool over_window = x_buffer.size() + bytes.size() > kStreamWindowBytes;
  const bool over_limit = limit != 0 && x_loop.buffered_bytes() + bytes.size() > limit;
  if (!x_buffer.empty() && (over_window || over_limit)) {
    x_paused = true;
    return CURL_WRITEFUNC_PAUSE;
  }
  x_last_progress = HttpLoop::Clock::now();
  x_buffer.insert(x_buffer.end(), bytes.begin(), bytes.end());
  x_loop.buffered_bytes() += bytes.size();
  x_loop.counters().body_bytes += bytes.size();
  wake();
  return bytes.size();
}

Task<Result<void>> HttpTransfer::wait_head() {
  while (!x_head_ready && !x_done) co_await Park{*this};
  if (x_head_ready) co_return Result<void>();  // what failed after it is for read_some() to say
  if (x_error) co_return *x_error;
  co_return error_named(Errc::kUnavailable, "response without a head");
}

Task<Result<Bytes>> HttpTransfer::read_some() {
  while (x_buffer.empty() && !x_done) co_await Park{*this};
  if (x_buffer.empty() && x_error) co_return *x_error;
  x_loop.buffered_bytes() -= x_buffer.size();
  Bytes taken = std::exchange(x_buffer, {});
  if (!x_done && std::exchange(x_paused, false)) {
    x_last_progress = HttpLoop::Clock::now();
    x_buffer.reserve(kStreamWindowBytes);
    x_loop.unpause(*this);
  }
  co_return taken;
}

void HttpTransfer::finish(CURLcode code) {
  if (code == CURLE_OK) return end(std::nullopt);
  ++x_loop.counters().failures;
  end(error_of(code));
}

void HttpTransfer::stalled() {
  ++x_loop.counters().failures;
  end(error_named(Errc::kUnavailable,
                  "no byte for " + std::to_string(x_request.stall_timeout.count()) + " ms"));
}

void HttpTransfer::on_cancel() {
  drop_buffer();
  end(error_named(Errc::kCancelled, "cancelled"));
}

void HttpTransfer::end(std::optional<Error> error) {
  unlink();
  x_done = true;
  x_error = std::move(error);
  x_loop.remove(*this);
  x_permits.clear();
  wake();
}

std::optional<HttpLoop::Clock::time_point> HttpTransfer::stall_deadline() const {
  if (!x_last_progress || x_paused) return std::nullopt;
  return *x_last_progress + x_request.stall_timeout;
}

Error HttpTransfer::error_of(CURLcode code) const {
  const std::string_view text =
      x_error_text[0] != '\0' ? std::string_view(x_error_text.data()) : curl_easy_strerror(code);
  switch (static_cast<int>(code)) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return error_named(Errc::kInvalid, text);
    case CURLE_TOO_MANY_REDIRECTS:
      return error_named(Errc::kInvalid, "more than " + std::to_string(x_request.max_redirects) +
                                             " redirects: the server redirects in a loop");
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return error_named(Errc::kDenied,
                         std::string(text) + ": set ca_file of this host to its authority");
    default:
      return error_named(Errc::kUnavailable, text);
  }
}

Error HttpTransfer::error_named(Errc code, std::string_view what) const {
  std::string text = x_request.method + " " + without_secrets(x_request.url) + ": ";
  return make_error(code, text.append(what));
}

void HttpTransfer::wake() {
  if (!x_waiter) return;
  x_loop.ring().post([waiter = std::exchange(x_waiter, nullptr)] { waiter.resume(); });
}

void HttpTransfer::drop_buffer() {
  x_loop.buffered_bytes() -= x_buffer.size();
  x_buffer = {};
}

}  // namespace dedup
