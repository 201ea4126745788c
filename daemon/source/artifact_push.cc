#include "source/artifact_push.h"

#include "source/manifest_json.h"
#include "source/resolve.h"

namespace dedup {

using std::chrono::milliseconds;

namespace {

constexpr unsigned kTagAttempts = 6;
constexpr uint64_t kMaxAnswerBytes = 64 * 1024;
constexpr const char* kSubjectTypes =
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json";

}  // namespace

Task<Result<Digest>> ArtifactPush::push(Digest subject, Artifact artifact) {
  if (artifact.blob.size() > kMaxArtifactBytes) {
    co_return make_error(Errc::kInvalid, "an artifact of " + std::to_string(artifact.blob.size()) +
                                             " bytes is too large to be pushed");
  }
  const auto now =
      std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
  artifact.annotations.try_emplace(kCreatedAnnotation, format_time(now));
  const Semaphore::Permit turn = co_await x_one_at_a_time.acquire(1, Priority::kPrefetch);
  CO_TRY(subject_descriptor, co_await find_subject(subject));
  const std::string config(kEmptyConfig);
  const std::string blob(as_text(artifact.blob));
  CO_TRY(co_await push_blob(config));
  CO_TRY(co_await push_blob(blob));
  const std::string manifest = artifact_manifest(artifact, subject_descriptor);
  Referrer entry{subject, artifact.artifact_type, {}};
  CO_TRY(described, describe_manifest(as_bytes(manifest), manifest_json::kOciManifest));
  entry.manifest = std::move(described);
  entry.manifest.annotations = artifact.annotations;
  const std::string name = entry.manifest.digest.to_string();
  CO_TRY(head, co_await put_manifest(name, manifest, manifest_json::kOciManifest));
  // With this header the registry says that it keeps the list itself.
  if (head.header("oci-subject") != subject.to_string()) CO_TRY(co_await list_under_tag(entry));
  co_return entry.manifest.digest;
}

ArtifactPush::Request ArtifactPush::request_of(std::string method, std::string target) const {
  Request request;
  request.method = std::move(method);
  request.target = std::move(target);
  request.priority = Priority::kPrefetch;
  request.push = true;
  return request;
}

Task<Result<Descriptor>> ArtifactPush::find_subject(const Digest& subject) {
  Request request = request_of("GET", "manifests/" + subject.to_string());
  request.accept = kSubjectTypes;
  RetryBudget budget{x_retries};
  CO_TRY(response, co_await x_registry.fetch(request, kMaxManifestBytes, budget));
  const std::string name = x_registry.name_of(request.target);
  CO_TRY(verify_digest(response.body, subject, name));
  auto described = describe_manifest(response.body, response.head.header("content-type"));
  if (!described.ok()) co_return std::move(described).error().with(name);
  co_return described;
}

Task<Result<void>> ArtifactPush::push_blob(const std::string& bytes) {
  const Digest digest = sha256(as_bytes(bytes));
  RetryBudget budget{x_retries};
  Request request = request_of("HEAD", "blobs/" + digest.to_string());
  request.any_answer = true;
  CO_TRY(answer, co_await x_registry.fetch(request, 0, budget));
  const bool same_size = answer.head.content_length.value_or(bytes.size()) == bytes.size();
  if (answer.head.status == 200 && same_size) co_return Result<void>();
  // An upload that failed half way is begun anew: its place may be gone.
  for (;;) {
    auto uploaded = co_await upload(digest, bytes);
    bool again = !uploaded.ok() && uploaded.error().code == Errc::kUnavailable;
    if (again) again = co_await x_registry.wait_to_retry(budget, milliseconds(0));
    if (!again) co_return uploaded;
  }
}

Task<Result<void>> ArtifactPush::upload(const Digest& digest, const std::string& bytes) {
  RetryBudget once;
  Request request = request_of("POST", "blobs/uploads/");
  CO_TRY(begun, co_await x_registry.fetch(request, kMaxAnswerBytes, once));
  const std::string here = x_registry.url_of(request);
  CO_TRY(place, x_registry.resolve_url(here, begun.head.header("location")));
  request.method = "PUT";
  request.url =
      place + (place.find('?') == place.npos ? "?" : "&") + "digest=" + digest.to_string();
  request.content_type = "application/octet-stream";
  request.body = bytes;
  CO_TRY(co_await x_registry.fetch(request, kMaxAnswerBytes, once));
  co_return Result<void>();
}

Task<Result<HttpHead>> ArtifactPush::put_manifest(const std::string& name, const std::string& json,
                                                  std::string_view media_type) {
  Request request = request_of("PUT", "manifests/" + name);
  request.content_type = media_type;
  request.body = json;
  RetryBudget budget{x_retries};
  CO_TRY(response, co_await x_registry.fetch(request, kMaxAnswerBytes, budget));
  co_return std::move(response.head);
}

// A tag has no compare-and-swap: what was written is read again after a pause in which a writer who
// had read the same index would have overwritten it. One that is slower than that can still win.
Task<Result<void>> ArtifactPush::list_under_tag(const Referrer& entry) {
  const std::string tag = fallback_tag(entry.subject);
  const std::string name = x_registry.name_of("manifests/" + tag);
  RetryBudget waits{kTagAttempts};
  for (unsigned attempt = 0; attempt < kTagAttempts; ++attempt) {
    CO_TRY(before, co_await read_tag(tag));
    auto index = add_referrer(before, entry);
    if (!index.ok()) co_return std::move(index).error().with(name);
    CO_TRY(co_await put_manifest(tag, *index, manifest_json::kOciIndex));
    co_await x_registry.wait_to_retry(waits, milliseconds(0));
    CO_TRY(after, co_await read_tag(tag));
    if (is_listed(after, entry)) co_return Result<void>();
  }
  co_return make_error(Errc::kUnavailable, name + ": other writers kept replacing it (" +
                                               std::to_string(kTagAttempts) +
                                               " times): push again later");
}

// "" when there is none.
Task<Result<std::string>> ArtifactPush::read_tag(const std::string& tag) {
  Request request = request_of("GET", "manifests/" + tag);
  request.accept = manifest_json::kOciIndex;
  RetryBudget budget{x_retries};
  auto response = co_await x_registry.fetch(request, kMaxManifestBytes, budget);
  if (!response.ok() && response.error().code == Errc::kNotFound) co_return std::string();
  if (!response.ok()) co_return std::move(response).error();
  co_return std::string(as_text(response->body));
}

}  // namespace dedup
