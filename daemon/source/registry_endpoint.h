// RegistryEndpoint: one base URL that serves a repository (the registry itself or a mirror):
// requests with authentication, retries and errors that name host, repository and remedy. Owned by
// a RegistrySource, private to source/; loop thread.
#pragma once

#include <chrono>
#include <memory>
#include <random>
#include <string>

#include "source/auth.h"
#include "source/source.h"

namespace dedup {

// Attempts one caller may still repeat; shared by all requests made for it.
struct RetryBudget {
  unsigned left = 0;
  unsigned used = 0;  // since the last progress: the exponent of the backoff
  bool take() {
    if (left == 0) return false;
    --left;
    ++used;
    return true;
  }
};

class RegistryEndpoint {
 public:
  struct Config {
    std::string base_url;  // "https://HOST[:PORT][/PREFIX]", no slash at the end
    std::string host;      // "HOST[:PORT]" for messages and docker config
    std::string repository;
    std::string mirror_of;  // a mirror is asked with ?ns=HOST; empty: the registry itself
    std::string ca_file;
  };

  struct Request {
    std::string target;  // below /v2/REPOSITORY/: "blobs/DIGEST", "manifests/TAG"
    std::string accept;
    std::optional<ByteRange> range;
    Priority priority = Priority::kOnDemand;
    std::string method = "GET";
    std::string query;  // without "?"
    std::string url;    // asked instead of the target, which still names it in messages
    std::string content_type;
    std::string body;
    bool push = false;        // authenticate for pull and push
    bool any_answer = false;  // 4xx and 501 are answers too, except those that ask to come again
    CancelToken token = {};   // also ends waits for a repetition; not a token request
  };

  RegistryEndpoint(Ring& ring, HttpClient& http, Log& log, Config config,
                   const SourceOptions& options);

  // The answer: status 200 or 206 to a GET, any 2xx to other methods. kUnavailable is retried while
  // `budget` (which the caller keeps alive) lasts.
  Task<Result<std::unique_ptr<HttpStream>>> send(Request request, RetryBudget& budget);
  // send() and the whole body; a body of more than max_bytes is kInvalid.
  Task<Result<HttpResponse>> fetch(Request request, uint64_t max_bytes, RetryBudget& budget);
  // Waits before a repetition; false when none is left.
  Task<bool> wait_to_retry(RetryBudget& budget, std::chrono::milliseconds at_least,
                           CancelToken token = {});
  // A Location or Link of an answer as a URL; `base` is what it may be relative to.
  //   errors  kInvalid (no http or https URL, or one that would leave TLS).
  Result<std::string> resolve_url(const std::string& base, const std::string& location) const;
  std::string url_of(const Request& request) const;
  // Whether `url` is asked of this endpoint itself, so that it gets our credentials.
  bool is_ours(const std::string& url) const;

  bool is_mirror() const { return !x_config.mirror_of.empty(); }
  // A mirror that failed is left alone for a while, so that it costs one timeout, not one per read.
  bool resting() const;
  void rest();
  // "registry HOST: blobs/DIGEST of REPOSITORY"
  std::string name_of(const std::string& target) const;

 private:
  Task<Result<std::unique_ptr<HttpStream>>> attempt(const Request& request);
  HttpRequest http_request(const Request& request, const std::string& authorization) const;
  Error status_error(const Request& request, const HttpHead& head, const std::string& said) const;

  Ring& x_ring;
  HttpClient& x_http;
  Config x_config;
  std::chrono::milliseconds x_retry_base;
  std::chrono::milliseconds x_max_retry_after;
  std::chrono::milliseconds x_stall_timeout;
  std::string x_docker_config;
  RegistryAuth x_auth;
  RegistryAuth x_push_auth;  // a token of its own, which may also write
  std::minstd_rand x_random{std::random_device{}()};
  std::chrono::steady_clock::time_point x_rests_until{};
};

}  // namespace dedup
