// RegistryEndpoint: one base URL that serves a repository (the registry itself or a mirror): GETs
// with authentication, retries and errors that name host, repository and remedy. Owned by a
// RegistrySource, private to source/; loop thread.
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
  };

  RegistryEndpoint(Ring& ring, HttpClient& http, Log& log, Config config,
                   const SourceOptions& options);

  // The answer, status 200 or 206. kUnavailable is retried while `budget` (which the caller keeps
  // alive) lasts.
  Task<Result<std::unique_ptr<HttpStream>>> get(Request request, RetryBudget& budget);
  // get() and the whole body; a body of more than max_bytes is kInvalid.
  Task<Result<HttpResponse>> fetch(Request request, uint64_t max_bytes, RetryBudget& budget);
  // Waits before a repetition; false when none is left.
  Task<bool> wait_to_retry(RetryBudget& budget, std::chrono::milliseconds at_least);

  bool is_mirror() const { return !x_config.mirror_of.empty(); }
  // A mirror that failed is left alone for a while, so that it costs one timeout, not one per read.
  bool resting() const;
  void rest();
  // "registry HOST: blobs/DIGEST of REPOSITORY"
  std::string name_of(const std::string& target) const;

 private:
  Task<Result<std::unique_ptr<HttpStream>>> attempt(const Request& request);
  Error status_error(const Request& request, const HttpHead& head, const std::string& said) const;

  Ring& x_ring;
  HttpClient& x_http;
  Config x_config;
  std::chrono::milliseconds x_retry_base;
  std::chrono::milliseconds x_max_retry_after;
  std::chrono::milliseconds x_stall_timeout;
  std::string x_docker_config;
  RegistryAuth x_auth;
  std::minstd_rand x_random{std::random_device{}()};
  std::chrono::steady_clock::time_point x_rests_until{};
};

}  // namespace dedup
