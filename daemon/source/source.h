// BlobSource: bytes of blobs from one place (a registry repository, an OCI layout directory).
// ImageSource: the same place asked for manifests. Loop thread. Nothing here verifies digests of
// partial reads: the caller knows what a range must hash to; whole manifests and configs are
// verified here.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/byte_range.h"
#include "base/bytes.h"
#include "base/log.h"
#include "base/priority.h"
#include "io/http.h"
#include "io/workers.h"
#include "source/artifact.h"
#include "source/manifest.h"
#include "source/reference.h"

namespace dedup {

// A blob read from front to back.
class BlobStream {
 public:
  virtual ~BlobStream() = default;
  // The next bytes, at least one; empty at the end. kUnavailable when cut short: a whole blob or an
  // error.
  virtual Task<Result<Bytes>> read_some() = 0;
};

class BlobSource {
 public:
  virtual ~BlobSource() = default;
  // Exactly the bytes `range` of the blob. blob_bytes is the blob's size as its descriptor states.
  //   errors  kNotFound (404), kDenied (401/403 after authentication was tried), kUnavailable (5xx,
  //   429 after waiting as
  //           Retry-After says within limits, network), kInvalid (range outside the blob, 416).
  //   note    A server that ignores Range and answers 200 is read up to the end of the range and
  //   then cut.
  virtual Task<Result<Bytes>> read(Digest blob, uint64_t blob_bytes, ByteRange range,
                                   Priority priority) = 0;
  virtual Task<Result<std::unique_ptr<BlobStream>>> open_stream(Digest blob, uint64_t blob_bytes,
                                                                Priority priority) = 0;
};

struct ResolvedImage {
  Reference reference;
  Digest manifest_digest;
  Manifest manifest;
  ImageConfig config;  // diff_ids.size() == manifest.layers.size()
};

// Artifacts that refer to an image of this place.
//   source  OCI distribution-spec 1.1 "Listing Referrers", "Pushing Manifests with Subject",
//           "Referrers Tag Schema".
class ArtifactSource {
 public:
  virtual ~ArtifactSource() = default;
  // The artifacts of that type that refer to the manifest `subject`, newest first (those without a
  // date last). None is an empty list. In a registry the referrers API and the fallback tag are
  // asked at once, on demand: a container waits.
  //   errors  kInvalid (a list that is none, or too long), kDenied, kUnavailable.
  virtual Task<Result<std::vector<Referrer>>> referrers(Digest subject,
                                                        std::string artifact_type) = 0;
  // The blob of an artifact, verified: its manifest has the listed digest and size, the listed
  // artifact type and subject, and exactly one layer, of media_type and at most max_bytes, whose
  // bytes have its digest and size.
  //   errors  kCorruption (digest, size), kInvalid (any other lie), kNotFound, kDenied,
  //           kUnavailable; all name the place.
  virtual Task<Result<Bytes>> read_artifact(Referrer referrer, std::string media_type,
                                            uint64_t max_bytes) = 0;
  // Uploads the artifact as a referrer of `subject`, which must be in the registry; never to a
  // mirror. Without the referrers API it is added to the index of the fallback tag, in the place of
  // older ones with its type and kEntrypointAnnotation. Returns the digest of its manifest.
  //   errors  kDenied (these credentials must not push), kNotFound (no such subject), kInvalid,
  //           kUnavailable (also: other writers of the fallback tag kept winning), kUnsupported (a
  //           read-only registry, an OCI layout).
  virtual Task<Result<Digest>> push_artifact(Digest subject, Artifact artifact) = 0;
};

class ImageSource : public BlobSource, public ArtifactSource {
 public:
  // The manifest of `reference` for `platform` with its config, both verified. Index entries are
  // chosen by platform.
  //   digest_hint: fetch this manifest digest instead of the tag (containerd resolved it already).
  virtual Task<Result<ResolvedImage>> resolve(Reference reference,
                                              std::optional<Digest> digest_hint,
                                              Platform platform) = 0;
};

// One registry host as config.json names it.
struct RegistryHost {
  bool plain_http = false;  // default: true for localhost, 127.0.0.0/8 and [::1]
  std::string ca_file;
  std::vector<std::string> mirrors;  // base URLs tried before the host
};

struct SourceOptions {
  std::map<std::string, RegistryHost> hosts;
  std::string docker_config;  // path of docker config.json; empty: $DOCKER_CONFIG, else
                              // /root/.docker/config.json
  unsigned retries = 3;       // of kUnavailable, with exponential backoff and jitter
  std::chrono::milliseconds retry_base{200};
  std::chrono::milliseconds max_retry_after{10'000};  // a longer Retry-After is an error at once
  std::chrono::milliseconds stall_timeout{30'000};
};

// The source for the location of `reference` (tag and digest do not matter). Borrowed references
// outlive the source.
std::unique_ptr<ImageSource> make_registry_source(Ring& ring, HttpClient& http, Log& log,
                                                  const SourceOptions& options,
                                                  const Reference& reference);
// An OCI image layout directory; index.json is read anew for each resolve. kNotFound/kInvalid when
// it is not one.
std::unique_ptr<ImageSource> make_layout_source(Workers& workers, Log& log,
                                                const Reference& reference);

}  // namespace dedup
