#include "unit/source/misbehaving_registry.h"

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "source/auth.h"

namespace dedup::test {

namespace {
constexpr const char* kManifestType = "application/vnd.oci.image.manifest.v1+json";
constexpr const char* kIndexType = "application/vnd.oci.image.index.v1+json";

bool writes(const RawRequest& request) {
  return request.method != "GET" && request.method != "HEAD";
}

// A HEAD has the headers of a GET and no body.
bool answer_with(const RawRequest& request, const RawConnection& out, const std::string& headers,
                 const std::string& body) {
  if (request.method != "HEAD") return out.answer("200 OK", headers, body);
  return out.write("HTTP/1.1 200 OK\r\n" + headers +
                   "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n");
}

bool answer_missing(const RawRequest& request, const RawConnection& out, const std::string& what) {
  const bool head = request.method == "HEAD";
  return out.answer("404 Not Found", "",
                    head ? "" : R"({"errors":[{"message":")" + what + R"( unknown"}]})");
}
}  // namespace

MisbehavingRegistry::MisbehavingRegistry()
    : x_server([this](const RawRequest& request, const RawConnection& out) {
        return handle(request, out);
      }) {}

Digest MisbehavingRegistry::add_blob(std::string bytes) {
  const Digest digest = sha256(as_bytes(bytes));
  std::lock_guard lock(x_mutex);
  x_blobs[digest.to_string()] = std::move(bytes);
  return digest;
}

Digest MisbehavingRegistry::add_manifest(const std::string& tag, const std::string& type,
                                         std::string body) {
  const Digest digest = sha256(as_bytes(body));
  std::lock_guard lock(x_mutex);
  x_manifests[tag] = {type, body};
  x_manifests[digest.to_string()] = {type, std::move(body)};
  return digest;
}

Digest MisbehavingRegistry::add_image(const std::string& tag, const std::string& layer) {
  const auto descriptor = [this](const std::string& bytes) {
    return R"({"mediaType":"application/octet-stream","digest":")" + add_blob(bytes).to_string() +
           R"(","size":)" + std::to_string(bytes.size()) + "}";
  };
  const std::string config = R"({"architecture":"amd64","os":"linux","rootfs":{"type":"layers",)"
                             R"("diff_ids":[")" +
                             sha256(as_bytes(layer)).to_string() + R"("]}})";
  return add_manifest(tag, kManifestType,
                      R"({"schemaVersion":2,"config":)" + descriptor(config) + R"(,"layers":[)" +
                          descriptor(layer) + "]}");
}

void MisbehavingRegistry::set_auth(Auth auth) {
  std::lock_guard lock(x_mutex);
  x_auth = auth;
}

void MisbehavingRegistry::expire_tokens() {
  std::lock_guard lock(x_mutex);
  ++x_token;
}

void MisbehavingRegistry::set_fault(Fault fault) {
  std::lock_guard lock(x_mutex);
  x_fault = std::move(fault);
}

void MisbehavingRegistry::fail_next(int times, const std::string& part, const std::string& status,
                                    const std::string& headers) {
  auto left = std::make_shared<std::atomic<int>>(times);
  set_fault([=](const RawRequest& request, const RawConnection& out) -> std::optional<bool> {
    if (request.target.find(part) == std::string::npos || (*left)-- <= 0) return std::nullopt;
    return out.answer(status, headers, "{}");
  });
}

void MisbehavingRegistry::set_referrers(Referrers referrers) {
  std::lock_guard lock(x_mutex);
  x_referrers = referrers;
}

void MisbehavingRegistry::set_upload_origin(std::string origin) {
  std::lock_guard lock(x_mutex);
  x_upload_origin = std::move(origin);
}

std::string MisbehavingRegistry::manifest(const std::string& name) const {
  std::lock_guard lock(x_mutex);
  const auto found = x_manifests.find(name);
  return found == x_manifests.end() ? "" : found->second.body;
}

std::vector<RawRequest> MisbehavingRegistry::seen(const std::string& part,
                                                  const std::string& method) const {
  std::lock_guard lock(x_mutex);
  std::vector<RawRequest> found;
  for (const auto& request : x_seen) {
    const bool chosen = method.empty() || request.method == method;
    if (chosen && request.target.find(part) != std::string::npos) found.push_back(request);
  }
  return found;
}

bool MisbehavingRegistry::handle(const RawRequest& request, const RawConnection& out) {
  Fault fault;
  {
    std::lock_guard lock(x_mutex);
    x_seen.push_back(request);
    fault = x_fault;
  }
  if (fault) {
    if (const auto done = fault(request, out)) return *done;
  }
  std::string target = request.target.substr(0, request.target.find('?'));
  if (target == "/token") return give_token(request, out);
  if (!authorized(request)) return challenge(request, out);
  const std::string prefix = std::string("/v2/") + kRepository + "/";
  if (target == prefix + "blobs/uploads/") return begin_upload(out);
  if (target.starts_with(prefix + "blobs/uploads/")) return take_blob(request, out);
  if (target.starts_with(prefix + "blobs/")) {
    return serve_blob(request, out, target.substr(prefix.size() + 6));
  }
  if (target.starts_with(prefix + "manifests/")) {
    const std::string name = target.substr(prefix.size() + 10);
    return writes(request) ? take_manifest(request, out, name) : serve_manifest(request, out, name);
  }
  if (target.starts_with(prefix + "referrers/")) {
    return serve_referrers(request, out, target.substr(prefix.size() + 10));
  }
  return out.answer("404 Not Found", "", R"({"errors":[{"message":"name unknown"}]})");
}

bool MisbehavingRegistry::authorized(const RawRequest& request) const {
  std::lock_guard lock(x_mutex);
  const std::string sent = request.header("authorization");
  switch (x_auth) {
    case Auth::kNone:
      return true;
    case Auth::kBasic:
      return sent == "Basic " + base64_encode(std::string(kUser) + ":" + kPassword);
    case Auth::kBearer: {
      const std::string number = std::to_string(x_token);
      return sent == "Bearer push-token-" + number ||
             (!writes(request) && sent == "Bearer token-" + number);
    }
  }
  return false;
}

bool MisbehavingRegistry::challenge(const RawRequest& request, const RawConnection& out) const {
  std::lock_guard lock(x_mutex);
  const std::string header = x_auth == Auth::kBasic
                                 ? "Basic realm=\"registry\""
                                 : "Bearer realm=\"" + url("/token") +
                                       "\",service=\"test\",scope=\"repository:" + kRepository +
                                       (writes(request) ? ":pull,push\"" : ":pull\"");
  const bool head = request.method == "HEAD";
  return out.answer(
      "401 Unauthorized", "WWW-Authenticate: " + header + "\r\n",
      head ? "" : R"({"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]})");
}

bool MisbehavingRegistry::give_token(const RawRequest& request, const RawConnection& out) {
  if (request.header("authorization") !=
      "Basic " + base64_encode(std::string(kUser) + ":" + kPassword)) {
    return out.answer("401 Unauthorized", "", "{}");
  }
  std::lock_guard lock(x_mutex);
  const bool push = request.target.find("push") != std::string::npos;
  return out.answer("200 OK", "",
                    R"({"token":")" + std::string(push ? "push-token-" : "token-") +
                        std::to_string(x_token) + "\"}");
}

bool MisbehavingRegistry::serve_blob(const RawRequest& request, const RawConnection& out,
                                     const std::string& name) {
  std::string body;
  {
    std::lock_guard lock(x_mutex);
    const auto found = x_blobs.find(name);
    if (found != x_blobs.end()) body = found->second;
  }
  if (body.empty()) return answer_missing(request, out, "blob");
  unsigned long long first = 0, last = 0;
  if (std::sscanf(request.header("range").c_str(), "bytes=%llu-%llu", &first, &last) != 2) {
    return answer_with(request, out, "", body);
  }
  if (first >= body.size()) return out.answer("416 Range Not Satisfiable", "", "");
  const std::string part = body.substr(first, last - first + 1);
  return out.answer("206 Partial Content",
                    "Content-Range: bytes " + std::to_string(first) + "-" +
                        std::to_string(first + part.size() - 1) + "/" +
                        std::to_string(body.size()) + "\r\n",
                    part);
}

bool MisbehavingRegistry::serve_manifest(const RawRequest& request, const RawConnection& out,
                                         const std::string& name) {
  std::lock_guard lock(x_mutex);
  const auto found = x_manifests.find(name);
  if (found == x_manifests.end()) return answer_missing(request, out, "manifest");
  return answer_with(request, out,
                     "Content-Type: " + found->second.type + "\r\nDocker-Content-Digest: " +
                         sha256(as_bytes(found->second.body)).to_string() + "\r\n",
                     found->second.body);
}

bool MisbehavingRegistry::serve_referrers(const RawRequest& request, const RawConnection& out,
                                          const std::string& subject) {
  using nlohmann::json;
  std::lock_guard lock(x_mutex);
  if (x_referrers == Referrers::kNone) return answer_missing(request, out, "page");
  json list = json::array();
  for (const auto& [name, document] : x_manifests) {
    const json manifest = json::parse(document.body, nullptr, false);
    if (!manifest.is_object() || !name.starts_with("sha256:") || !manifest.contains("subject")) {
      continue;
    }
    const std::string type = manifest.value("artifactType", "");
    const bool asked = request.target.ends_with("?artifactType=" + percent_encoded(type));
    const bool dropped = x_referrers == Referrers::kFiltered && !asked;
    if (manifest["subject"].value("digest", "") != subject || dropped) continue;
    list.push_back({{"mediaType", document.type},
                    {"digest", name},
                    {"size", document.body.size()},
                    {"artifactType", type},
                    {"annotations", manifest.value("annotations", json::object())}});
  }
  std::string headers = std::string("Content-Type: ") + kIndexType + "\r\n";
  if (x_referrers == Referrers::kFiltered) headers += "OCI-Filters-Applied: artifactType\r\n";
  return out.answer(
      "200 OK", headers,
      json{{"schemaVersion", 2}, {"mediaType", kIndexType}, {"manifests", list}}.dump());
}

bool MisbehavingRegistry::begin_upload(const RawConnection& out) {
  std::lock_guard lock(x_mutex);
  return out.answer("202 Accepted",
                    "Location: " + x_upload_origin + "/v2/" + kRepository + "/blobs/uploads/" +
                        std::to_string(++x_uploads) + "?_state=secret\r\n",
                    "");
}

bool MisbehavingRegistry::take_blob(const RawRequest& request, const RawConnection& out) {
  const std::string digest = sha256(as_bytes(request.body)).to_string();
  if (request.method != "PUT" || !request.target.ends_with("?_state=secret&digest=" + digest)) {
    return out.answer("400 Bad Request", "", R"({"errors":[{"message":"digest invalid"}]})");
  }
  std::lock_guard lock(x_mutex);
  x_blobs[digest] = request.body;
  return out.answer("201 Created", "", "");
}

// Like real ones, it wants the blobs first and accepts a subject it does not have.
bool MisbehavingRegistry::take_manifest(const RawRequest& request, const RawConnection& out,
                                        const std::string& name) {
  using nlohmann::json;
  const json manifest = json::parse(request.body, nullptr, false);
  const std::string digest = sha256(as_bytes(request.body)).to_string();
  std::lock_guard lock(x_mutex);
  bool good = manifest.is_object() && (name == digest || !name.starts_with("sha256:"));
  if (good && manifest.contains("config")) {
    good = x_blobs.contains(manifest["config"].value("digest", ""));
    for (const auto& layer : manifest["layers"]) {
      good = good && x_blobs.contains(layer.value("digest", ""));
    }
  }
  if (!good) return out.answer("400 Bad Request", "", R"({"errors":[{"message":"invalid"}]})");
  x_manifests[name] = {request.header("content-type"), request.body};
  x_manifests[digest] = x_manifests[name];
  std::string headers;
  if (x_referrers != Referrers::kNone && manifest.contains("subject")) {
    headers = "OCI-Subject: " + manifest["subject"].value("digest", "") + "\r\n";
  }
  return out.answer("201 Created", headers, "");
}

}  // namespace dedup::test
