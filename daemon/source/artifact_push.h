// ArtifactPush: uploads an artifact that refers to an image: its blobs, its manifest, and, when the
// registry keeps no list of referrers itself, its entry in the index of the fallback tag. One push
// at a time. Owned by a registry source, which also owns the endpoint; private to source/; loop
// thread.
//   source  OCI distribution-spec 1.1 "Pushing a blob monolithically" (POST then PUT), "Pushing
//           Manifests with Subject", "Referrers Tag Schema".
#pragma once

#include <string>

#include "io/sync.h"
#include "source/artifact.h"
#include "source/registry_endpoint.h"

namespace dedup {

class ArtifactPush {
 public:
  // registry: never a mirror.
  ArtifactPush(Ring& ring, RegistryEndpoint& registry, unsigned retries)
      : x_one_at_a_time(ring, 1), x_registry(registry), x_retries(retries) {}

  // As ArtifactSource::push_artifact.
  Task<Result<Digest>> push(Digest subject, Artifact artifact);

 private:
  using Request = RegistryEndpoint::Request;
  Request request_of(std::string method, std::string target) const;

  Task<Result<Descriptor>> find_subject(const Digest& subject);
  Task<Result<void>> push_blob(const std::string& bytes);
  Task<Result<void>> upload(const Digest& digest, const std::string& bytes);
  // The head of the answer.
  Task<Result<HttpHead>> put_manifest(const std::string& name, const std::string& json,
                                      std::string_view media_type);
  Task<Result<void>> list_under_tag(const Referrer& entry);
  Task<Result<std::string>> read_tag(const std::string& tag);

  Semaphore x_one_at_a_time;
  RegistryEndpoint& x_registry;
  unsigned x_retries;
};

}  // namespace dedup
