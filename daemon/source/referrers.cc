#include "source/referrers.h"

#include "source/manifest_json.h"
#include "source/resolve.h"

namespace dedup {
namespace {

constexpr unsigned kMaxPages = 8;  // of one list; their bytes together are limited too
constexpr unsigned kListRetries = 1;
constexpr std::chrono::hours kApiMemory{1};

// The target of `Link: <URL>; rel="next"`, "" for none (RFC 8288).
std::string next_link(const HttpHead& head) {
  const std::string link = head.header("link");
  const size_t end = link.find('>');
  if (!link.starts_with('<') || end == link.npos) return "";
  const std::string parameters = link.substr(end);
  const bool next =
      parameters.find("rel=\"next\"") != link.npos || parameters.find("rel=next") != link.npos;
  return next ? link.substr(1, end - 1) : "";
}

// Not only statuses: some servers show a page to whoever asks for what they do not know.
bool is_refusal(const HttpHead& head) {
  return head.status != 200 || head.header("content-type").starts_with("text/html");
}

}  // namespace

// Both answers of an endpoint nothing is known about yet.
struct RegistryReferrers::Race {
  Result<std::optional<List>> api{std::optional<List>()};
  Result<List> tag{List()};
  CancelSource tag_cancel;
};

Task<Result<std::vector<Referrer>>> RegistryReferrers::list(Digest subject,
                                                            std::string artifact_type) {
  Result<List> result{List()};
  for (auto& endpoint : x_endpoints) {
    if (endpoint->resting()) continue;
    const unsigned retries = endpoint->is_mirror() ? 0 : std::min(x_retries, kListRetries);
    const Query query{*endpoint, subject, artifact_type, retries};
    result = co_await list_at(query);
    // Many mirrors know blobs only: that one has no list says nothing.
    if (result.ok() && !result->empty()) break;
    if (result.ok() || !endpoint->is_mirror()) continue;
    if (result.error().code == Errc::kUnavailable) endpoint->rest();
  }
  if (result.ok()) keep_newest(*result);
  co_return result;
}

Task<Result<RegistryReferrers::List>> RegistryReferrers::list_at(const Query& query) {
  const auto known = has_api(query.endpoint);
  if (!known) co_return co_await list_from_both(query);
  if (*known) {
    CO_TRY(list, co_await ask_api(query));
    if (list) co_return std::move(*list);
  }
  co_return co_await ask_tag(query, CancelToken());
}

Task<Result<RegistryReferrers::List>> RegistryReferrers::list_from_both(const Query& query) {
  Race race;
  TaskScope scope;
  scope.spawn(run_tag(query, race));
  scope.spawn(run_api(query, race));
  co_await scope.join();
  if (race.api.ok() && race.api->has_value()) co_return std::move(**race.api);
  // An API that fails is not proof of none, and what the tag has is better than nothing.
  const bool tag_has_some = race.tag.ok() && !race.tag->empty();
  if (!race.api.ok() && !tag_has_some) co_return std::move(race.api).error();
  co_return std::move(race.tag);
}

Task<void> RegistryReferrers::run_api(const Query& query, Race& race) {
  race.api = co_await ask_api(query);
  if (race.api.ok() && race.api->has_value()) race.tag_cancel.cancel();
}

Task<void> RegistryReferrers::run_tag(const Query& query, Race& race) {
  race.tag = co_await ask_tag(query, race.tag_cancel.token());
}

Task<Result<std::optional<RegistryReferrers::List>>> RegistryReferrers::ask_api(
    const Query& query) {
  RegistryEndpoint::Request request;
  request.target = "referrers/" + query.subject.to_string();
  request.query = "artifactType=" + percent_encoded(query.artifact_type);
  request.accept = manifest_json::kOciIndex;
  request.any_answer = true;
  const std::string name = query.endpoint.name_of(request.target);
  RetryBudget budget{query.retries};
  List list;
  uint64_t left_bytes = kMaxManifestBytes;
  for (unsigned page = 0; page < kMaxPages; ++page) {
    auto response = co_await query.endpoint.fetch(request, left_bytes, budget);
    const bool refused = response.ok() && is_refusal(response->head);
    // What follows a first page is more of the same: without it the list is shorter.
    if (page > 0 && (!response.ok() || refused)) break;
    if (!response.ok()) co_return std::move(response).error();
    if (refused) {
      const int status = response->head.status;
      // A refusal may be about these credentials or this moment.
      if (status != 401 && status != 403) remember(query.endpoint, false);
      co_return std::optional<List>();
    }
    auto some = parse_referrers(as_text(response->body), query.subject, query.artifact_type);
    // Lists are filtered here in any case: OCI-Filters-Applied would have to be believed.
    if (!some.ok()) co_return std::move(some).error().with(name);
    list.insert(list.end(), some->begin(), some->end());
    left_bytes -= response->body.size();
    const std::string here = query.endpoint.url_of(request);
    const auto next = query.endpoint.resolve_url(here, next_link(response->head));
    if (!next.ok() || !query.endpoint.is_ours(*next)) break;
    request.url = *next;
  }
  remember(query.endpoint, true);
  co_return std::optional<List>(std::move(list));
}

Task<Result<RegistryReferrers::List>> RegistryReferrers::ask_tag(const Query& query,
                                                                 CancelToken token) {
  RegistryEndpoint::Request request;
  request.target = "manifests/" + fallback_tag(query.subject);
  request.accept = manifest_json::kOciIndex;
  request.token = token;
  RetryBudget budget{query.retries};
  auto response = co_await query.endpoint.fetch(request, kMaxManifestBytes, budget);
  if (!response.ok() && response.error().code == Errc::kNotFound) co_return List();
  if (!response.ok()) co_return std::move(response).error();
  auto list = parse_referrers(as_text(response->body), query.subject, query.artifact_type);
  if (!list.ok()) co_return std::move(list).error().with(query.endpoint.name_of(request.target));
  co_return list;
}

Task<Result<Bytes>> RegistryReferrers::read(Referrer referrer, std::string media_type,
                                            uint64_t max_bytes) {
  Result<Bytes> result = make_error(Errc::kInvalid, "no endpoint");
  for (auto& endpoint : x_endpoints) {
    if (endpoint->resting()) continue;
    result = co_await read_at(*endpoint, referrer, media_type, max_bytes);
    if (result.ok()) break;
    if (endpoint->is_mirror() && result.error().code == Errc::kUnavailable) endpoint->rest();
  }
  co_return result;
}

Task<Result<Bytes>> RegistryReferrers::read_at(RegistryEndpoint& endpoint, const Referrer& referrer,
                                               const std::string& media_type, uint64_t max_bytes) {
  RetryBudget budget{endpoint.is_mirror() ? 0 : x_retries};
  RegistryEndpoint::Request request;
  request.target = "manifests/" + referrer.manifest.digest.to_string();
  request.accept = manifest_json::kOciManifest;
  const std::string name = endpoint.name_of(request.target);
  if (referrer.manifest.size > kMaxArtifactManifestBytes) {
    co_return make_error(
        Errc::kInvalid,
        name + ": a manifest of " + std::to_string(referrer.manifest.size) + " bytes is refused");
  }
  CO_TRY(manifest, co_await endpoint.fetch(request, kMaxArtifactManifestBytes, budget));
  CO_TRY(verify_descriptor(manifest.body, referrer.manifest, name));
  auto layer = artifact_layer(as_text(manifest.body), referrer, media_type, max_bytes);
  if (!layer.ok()) co_return std::move(layer).error().with(name);
  request.target = "blobs/" + layer->digest.to_string();
  request.accept.clear();
  CO_TRY(blob, co_await endpoint.fetch(request, max_bytes, budget));
  CO_TRY(verify_descriptor(blob.body, *layer, endpoint.name_of(request.target)));
  co_return std::move(blob.body);
}

void RegistryReferrers::remember(const RegistryEndpoint& endpoint, bool exists) {
  x_apis[&endpoint] = {exists, Clock::now() + kApiMemory};
}

std::optional<bool> RegistryReferrers::has_api(const RegistryEndpoint& endpoint) const {
  const auto found = x_apis.find(&endpoint);
  if (found == x_apis.end() || Clock::now() >= found->second.until) return std::nullopt;
  return found->second.exists;
}

}  // namespace dedup
