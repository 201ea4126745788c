// RegistryReferrers: finds and reads the artifacts that refer to an image, through the endpoints of
// a registry source: mirrors first, the registry last. Owned by the source, which also owns the
// endpoints; private to source/; loop thread.
//   source  OCI distribution-spec 1.1 "Listing Referrers", "Unavailable Referrers API".
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "source/artifact.h"
#include "source/registry_endpoint.h"

namespace dedup {

class RegistryReferrers {
 public:
  using Endpoints = std::vector<std::unique_ptr<RegistryEndpoint>>;
  RegistryReferrers(const Endpoints& endpoints, unsigned retries)
      : x_endpoints(endpoints), x_retries(retries) {}

  // As ArtifactSource has them.
  Task<Result<std::vector<Referrer>>> list(Digest subject, std::string artifact_type);
  Task<Result<Bytes>> read(Referrer referrer, std::string media_type, uint64_t max_bytes);

 private:
  using Clock = std::chrono::steady_clock;
  // What an endpoint was last seen to do; forgotten after a while, registries are upgraded.
  struct Api {
    bool exists = false;
    Clock::time_point until{};
  };
  struct Query {
    RegistryEndpoint& endpoint;
    Digest subject;
    std::string artifact_type;
    unsigned retries;
  };
  using List = std::vector<Referrer>;
  struct Race;

  Task<Result<List>> list_at(const Query& query);
  Task<Result<List>> list_from_both(const Query& query);
  Task<void> run_api(const Query& query, Race& race);
  Task<void> run_tag(const Query& query, Race& race);
  // nullopt: there is no such API here.
  Task<Result<std::optional<List>>> ask_api(const Query& query);
  Task<Result<List>> ask_tag(const Query& query, CancelToken token);
  Task<Result<Bytes>> read_at(RegistryEndpoint& endpoint, const Referrer& referrer,
                              const std::string& media_type, uint64_t max_bytes);
  void remember(const RegistryEndpoint& endpoint, bool exists);
  std::optional<bool> has_api(const RegistryEndpoint& endpoint) const;

  const Endpoints& x_endpoints;
  unsigned x_retries;
  std::map<const RegistryEndpoint*, Api> x_apis;
};

}  // namespace dedup
