#include <algorithm>
#include <charconv>

#include "source/artifact_push.h"
#include "source/referrers.h"
#include "source/registry_endpoint.h"
#include "source/resolve.h"
#include "source/source.h"

namespace dedup {
namespace {

constexpr std::string_view kDefaultRegistry = "docker.io";
constexpr std::string_view kDefaultRegistryApi = "registry-1.docker.io";
constexpr uint64_t kProgressBytes = uint64_t{8} << 20;  // after so many the retries count anew
constexpr uint64_t kMaxReserveBytes = uint64_t{64} << 20;
constexpr const char* kManifestTypes =
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json";

// localhost, 127.0.0.0/8, [::1]: plain HTTP unless configured, as docker does.
bool is_loopback(std::string_view host) {
  if (host.starts_with("[::1]")) return true;
  host = host.substr(0, host.find(':'));
  return host == "localhost" ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == host.npos);
}

struct ContentRange {
  uint64_t first = 0;
  std::optional<uint64_t> total;
};

// "bytes FIRST-LAST/TOTAL", TOTAL may be "*".
std::optional<ContentRange> parse_content_range(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  ContentRange range;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, range.first);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != '-') return std::nullopt;
  uint64_t last = 0;
  const auto second = std::from_chars(first.ptr + 1, end, last);
  if (second.ec != std::errc() || second.ptr == end || *second.ptr != '/') return std::nullopt;
  uint64_t total = 0;
  const auto third = std::from_chars(second.ptr + 1, end, total);
  if (third.ec == std::errc() && third.ptr == end) range.total = total;
  return range;
}

// Offset in the blob of the body's first byte.
Result<uint64_t> body_offset(const HttpHead& head, ByteRange asked, uint64_t blob_bytes,
                             const std::string& name) {
  const auto wrong_size = [&](uint64_t bytes) {
    return make_error(Errc::kCorruption, name + " has " + std::to_string(bytes) +
                                             " bytes, its descriptor says " +
                                             std::to_string(blob_bytes));
  };
  if (head.status == 200) {
    if (head.content_length && *head.content_length != blob_bytes) {
      return wrong_size(*head.content_length);
    }
    return uint64_t{0};
  }
  const auto range = parse_content_range(head.header("content-range"));
  if (!range || range->first != asked.offset) {
    return make_error(Errc::kInvalid, name + ": the server answered another range than asked");
  }
  if (range->total && *range->total != blob_bytes) return wrong_size(*range->total);
  return range->first;
}

class RegistrySource;

// A range of a blob, front to back; a cut body is continued by a new request.
class RangeStream final : public BlobStream {
 public:
  RangeStream(RegistrySource& source, Digest blob, uint64_t blob_bytes, ByteRange range,
              Priority priority);
  Task<Result<void>> open();
  Task<Result<Bytes>> read_some() override;

 private:
  Task<Result<void>> open_at(RegistryEndpoint& endpoint);
  Bytes wanted_part(Bytes piece);

  RegistrySource& x_source;
  std::string x_target;
  uint64_t x_blob_bytes;
  ByteRange x_rest;  // not delivered yet
  Priority x_priority;
  RetryBudget x_budget;
  uint64_t x_progress_bytes = 0;
  RegistryEndpoint* x_endpoint = nullptr;  // that serves x_body
  std::unique_ptr<HttpStream> x_body;
  uint64_t x_body_next = 0;  // offset in the blob of the body's next byte
};

class RegistrySource final : public ImageSource {
 public:
  RegistrySource(Ring& ring, HttpClient& http, Log& log, const SourceOptions& options,
                 const Reference& reference);

  Task<Result<Bytes>> read(Digest blob, uint64_t blob_bytes, ByteRange range,
                           Priority priority) override;
  Task<Result<std::unique_ptr<BlobStream>>> open_stream(Digest blob, uint64_t blob_bytes,
                                                        Priority priority) override;
  Task<Result<ResolvedImage>> resolve(Reference reference, std::optional<Digest> digest_hint,
                                      Platform platform) override;
  Task<Result<std::vector<Referrer>>> referrers(Digest subject,
                                                std::string artifact_type) override {
    co_return co_await x_referrers.list(subject, artifact_type);
  }
  Task<Result<Bytes>> read_artifact(Referrer referrer, std::string media_type,
                                    uint64_t max_bytes) override {
    co_return co_await x_referrers.read(referrer, media_type, max_bytes);
  }
  Task<Result<Digest>> push_artifact(Digest subject, Artifact artifact) override {
    co_return co_await x_push->push(subject, std::move(artifact));
  }

  std::vector<std::unique_ptr<RegistryEndpoint>>& endpoints() { return x_endpoints; }
  unsigned retries() const { return x_retries; }
  void note_ignored_range();

 private:
  Task<Result<ResolvedImage>> resolve_at(RegistryEndpoint& endpoint, Reference reference,
                                         std::optional<Digest> digest, Platform platform);
  Task<Result<std::string>> fetch_config(RegistryEndpoint& endpoint, Descriptor config,
                                         RetryBudget& budget);

  Log& x_log;
  std::string x_location;
  unsigned x_retries;
  std::vector<std::unique_ptr<RegistryEndpoint>> x_endpoints;  // mirrors, then the registry
  RegistryReferrers x_referrers{x_endpoints, x_retries};
  std::unique_ptr<ArtifactPush> x_push;  // to the last endpoint
  bool x_noted_ignored_range = false;
};

RangeStream::RangeStream(RegistrySource& source, Digest blob, uint64_t blob_bytes, ByteRange range,
                         Priority priority)
    : x_source(source),
      x_target("blobs/" + blob.to_string()),
      x_blob_bytes(blob_bytes),
      x_rest(range),
      x_priority(priority),
      x_budget{source.retries()} {}

Task<Result<void>> RangeStream::open() {
  Result<void> result;
  for (auto& endpoint : x_source.endpoints()) {
    if (endpoint->resting()) continue;
    result = co_await open_at(*endpoint);
    if (result.ok()) break;
    if (endpoint->is_mirror() && result.error().code == Errc::kUnavailable) endpoint->rest();
  }
  co_return result;
}

Task<Result<void>> RangeStream::open_at(RegistryEndpoint& endpoint) {
  RetryBudget once;
  RegistryEndpoint::Request request;
  request.target = x_target;
  request.priority = x_priority;
  if (x_rest.length != x_blob_bytes) request.range = x_rest;
  CO_TRY(body, co_await endpoint.send(request, endpoint.is_mirror() ? once : x_budget));
  CO_TRY(offset, body_offset(body->head(), x_rest, x_blob_bytes, endpoint.name_of(x_target)));
  if (offset < x_rest.offset) x_source.note_ignored_range();
  x_body = std::move(body);
  x_body_next = offset;
  x_endpoint = &endpoint;
  co_return Result<void>();
}

// Drops what lies before the range (a server that ignores Range starts at 0) and after it.
Bytes RangeStream::wanted_part(Bytes piece) {
  const ByteRange got{x_body_next, piece.size()};
  const ByteRange wanted = got.intersect(x_rest);
  x_body_next = got.end();
  piece.resize(wanted.offset - got.offset + wanted.length);
  piece.erase(piece.begin(), piece.begin() + static_cast<ptrdiff_t>(wanted.offset - got.offset));
  x_rest = {wanted.end(), x_rest.end() - wanted.end()};
  return piece;
}

Task<Result<Bytes>> RangeStream::read_some() {
  while (!x_rest.empty()) {
    if (!x_body) CO_TRY(co_await open());
    auto piece = co_await x_body->read_some();
    if (piece.ok() && !piece->empty()) {
      if (x_body_next + piece->size() <= x_rest.offset) {
        x_body_next += piece->size();
        continue;
      }
      Bytes wanted = wanted_part(std::move(*piece));
      x_progress_bytes += wanted.size();
      if (x_progress_bytes >= kProgressBytes) {
        x_progress_bytes = 0;
        x_budget = {x_source.retries()};
      }
      if (x_rest.empty()) x_body.reset();
      co_return wanted;
    }
    Error error = piece.ok() ? make_error(Errc::kUnavailable, "the body ended " +
                                                                  std::to_string(x_rest.length) +
                                                                  " bytes early: try again later")
                             : std::move(piece).error();
    x_body.reset();
    bool again = error.code == Errc::kUnavailable;
    if (again) again = co_await x_endpoint->wait_to_retry(x_budget, std::chrono::milliseconds(0));
    if (!again) co_return std::move(error).with(x_endpoint->name_of(x_target));
  }
  co_return Bytes();
}

RegistrySource::RegistrySource(Ring& ring, HttpClient& http, Log& log, const SourceOptions& options,
                               const Reference& reference)
    : x_log(log), x_location(reference.location()), x_retries(options.retries) {
  RegistryHost host;
  host.plain_http = is_loopback(reference.host);
  if (const auto found = options.hosts.find(reference.host); found != options.hosts.end()) {
    host = found->second;
  }
  for (std::string mirror : host.mirrors) {
    while (mirror.ends_with('/')) mirror.pop_back();
    const std::string origin = origin_of(mirror);
    const size_t scheme = origin.find("://");
    RegistryEndpoint::Config config{
        .base_url = mirror,
        .host = scheme == origin.npos ? origin : origin.substr(scheme + 3),
        .repository = reference.repository,
        .mirror_of = reference.host,
        .ca_file = host.ca_file};
    x_endpoints.push_back(
        std::make_unique<RegistryEndpoint>(ring, http, log, std::move(config), options));
  }
  const std::string api =
      reference.host == kDefaultRegistry ? std::string(kDefaultRegistryApi) : reference.host;
  RegistryEndpoint::Config config{.base_url = (host.plain_http ? "http://" : "https://") + api,
                                  .host = reference.host,
                                  .repository = reference.repository,
                                  .mirror_of = "",
                                  .ca_file = host.ca_file};
  x_endpoints.push_back(
      std::make_unique<RegistryEndpoint>(ring, http, log, std::move(config), options));
  x_push = std::make_unique<ArtifactPush>(ring, *x_endpoints.back(), x_retries);
}

Task<Result<Bytes>> RegistrySource::read(Digest blob, uint64_t blob_bytes, ByteRange range,
                                         Priority priority) {
  const auto end = checked_add(range.offset, range.length);
  if (!end || *end > blob_bytes) {
    co_return make_error(Errc::kInvalid, x_location + ": range outside blob " + blob.to_string() +
                                             " of " + std::to_string(blob_bytes) + " bytes");
  }
  RangeStream stream(*this, blob, blob_bytes, range, priority);
  Bytes bytes;
  bytes.reserve(std::min(range.length, kMaxReserveBytes));
  for (;;) {
    CO_TRY(piece, co_await stream.read_some());
    if (piece.empty()) co_return bytes;
    if (piece.size() == range.length) co_return piece;
    bytes.insert(bytes.end(), piece.begin(), piece.end());
  }
}

Task<Result<std::unique_ptr<BlobStream>>> RegistrySource::open_stream(Digest blob,
                                                                      uint64_t blob_bytes,
                                                                      Priority priority) {
  auto stream =
      std::make_unique<RangeStream>(*this, blob, blob_bytes, ByteRange{0, blob_bytes}, priority);
  if (blob_bytes > 0) CO_TRY(co_await stream->open());
  co_return std::unique_ptr<BlobStream>(std::move(stream));
}

Task<Result<ResolvedImage>> RegistrySource::resolve(Reference reference,
                                                    std::optional<Digest> digest_hint,
                                                    Platform platform) {
  const auto digest = digest_hint ? digest_hint : reference.digest;
  Result<ResolvedImage> result = make_error(Errc::kInvalid, "no endpoint");
  for (auto& endpoint : x_endpoints) {
    if (endpoint->resting()) continue;
    result = co_await resolve_at(*endpoint, reference, digest, platform);
    if (result.ok()) break;
    if (endpoint->is_mirror() && result.error().code == Errc::kUnavailable) endpoint->rest();
  }
  co_return result;
}

Task<Result<ResolvedImage>> RegistrySource::resolve_at(RegistryEndpoint& endpoint,
                                                       Reference reference,
                                                       std::optional<Digest> digest,
                                                       Platform platform) {
  RetryBudget budget{endpoint.is_mirror() ? 0 : x_retries};
  std::optional<Descriptor> descriptor;  // as an index describes it
  for (int depth = 0; depth < kMaxIndexDepth; ++depth) {
    const std::string target = "manifests/" + (digest ? digest->to_string() : reference.tag);
    const std::string name = endpoint.name_of(target);
    RegistryEndpoint::Request request;
    request.target = target;
    request.accept = kManifestTypes;
    CO_TRY(response, co_await endpoint.fetch(request, kMaxManifestBytes, budget));
    const Digest actual = sha256(response.body);
    const auto stated = Digest::parse(response.head.header("docker-content-digest"));
    if (digest) {
      CO_TRY(verify_digest(response.body, *digest, name));
    } else if (stated.ok()) {
      CO_TRY(verify_digest(response.body, *stated, name));
    }
    if (descriptor) CO_TRY(verify_descriptor(response.body, *descriptor, name));
    const std::string type = response.head.header("content-type");
    auto step = next_step(as_text(response.body), type, platform);
    if (!step.ok()) co_return std::move(step).error().with(name);
    if (auto* manifest = std::get_if<Manifest>(&*step)) {
      CO_TRY(config, co_await fetch_config(endpoint, manifest->config, budget));
      auto image = assemble(std::move(reference), actual, std::move(*manifest), config);
      if (!image.ok()) co_return std::move(image).error().with(name);
      co_return image;
    }
    descriptor = std::move(std::get<Descriptor>(*step));
    digest = descriptor->digest;
  }
  co_return make_error(Errc::kInvalid, x_location + ": indexes are nested more than " +
                                           std::to_string(kMaxIndexDepth) + " deep");
}

Task<Result<std::string>> RegistrySource::fetch_config(RegistryEndpoint& endpoint,
                                                       Descriptor config, RetryBudget& budget) {
  const std::string target = "blobs/" + config.digest.to_string();
  const std::string name = endpoint.name_of(target);
  if (config.size > kMaxConfigBytes) {
    co_return make_error(Errc::kInvalid, name + ": an image config of " +
                                             std::to_string(config.size) + " bytes is refused");
  }
  RegistryEndpoint::Request request;
  request.target = target;
  CO_TRY(response, co_await endpoint.fetch(request, config.size, budget));
  CO_TRY(verify_descriptor(response.body, config, name));
  co_return std::string(as_text(response.body));
}

void RegistrySource::note_ignored_range() {
  if (std::exchange(x_noted_ignored_range, true)) return;
  x_log.warn("the server ignores Range: every lazy read fetches its blob from the start",
             {{"location", x_location}});
}

}  // namespace

std::unique_ptr<ImageSource> make_registry_source(Ring& ring, HttpClient& http, Log& log,
                                                  const SourceOptions& options,
                                                  const Reference& reference) {
  return std::make_unique<RegistrySource>(ring, http, log, options, reference);
}

}  // namespace dedup
