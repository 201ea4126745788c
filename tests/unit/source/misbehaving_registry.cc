#include "unit/source/misbehaving_registry.h"

#include <cstdio>
#include <memory>

#include "base/bytes.h"
#include "source/docker_config.h"

namespace dedup::test {

namespace {
constexpr const char* kManifestType = "application/vnd.oci.image.manifest.v1+json";
}

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

std::vector<RawRequest> MisbehavingRegistry::seen(const std::string& part) const {
  std::lock_guard lock(x_mutex);
  std::vector<RawRequest> found;
  for (const auto& request : x_seen) {
    if (request.target.find(part) != std::string::npos) found.push_back(request);
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
  if (!authorized(request)) return challenge(out);
  const std::string prefix = std::string("/v2/") + kRepository + "/";
  if (target.starts_with(prefix + "blobs/")) {
    return serve_blob(request, out, target.substr(prefix.size() + 6));
  }
  if (target.starts_with(prefix + "manifests/")) {
    return serve_manifest(out, target.substr(prefix.size() + 10));
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
    case Auth::kBearer:
      return sent == "Bearer token-" + std::to_string(x_token);
  }
  return false;
}

bool MisbehavingRegistry::challenge(const RawConnection& out) const {
  std::lock_guard lock(x_mutex);
  const std::string header = x_auth == Auth::kBasic
                                 ? "Basic realm=\"registry\""
                                 : "Bearer realm=\"" + url("/token") +
                                       "\",service=\"test\",scope=\"repository:" + kRepository +
                                       ":pull\"";
  return out.answer("401 Unauthorized", "WWW-Authenticate: " + header + "\r\n",
                    R"({"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]})");
}

bool MisbehavingRegistry::give_token(const RawRequest& request, const RawConnection& out) {
  if (request.header("authorization") !=
      "Basic " + base64_encode(std::string(kUser) + ":" + kPassword)) {
    return out.answer("401 Unauthorized", "", "{}");
  }
  std::lock_guard lock(x_mutex);
  return out.answer("200 OK", "", R"({"token":"token-)" + std::to_string(x_token) + "\"}");
}

bool MisbehavingRegistry::serve_blob(const RawRequest& request, const RawConnection& out,
                                     const std::string& name) {
  std::string body;
  {
    std::lock_guard lock(x_mutex);
    const auto found = x_blobs.find(name);
    if (found != x_blobs.end()) body = found->second;
  }
  if (body.empty()) {
    return out.answer("404 Not Found", "", R"({"errors":[{"message":"blob unknown"}]})");
  }
  unsigned long long first = 0, last = 0;
  if (std::sscanf(request.header("range").c_str(), "bytes=%llu-%llu", &first, &last) != 2) {
    return out.answer("200 OK", "", body);
  }
  if (first >= body.size()) return out.answer("416 Range Not Satisfiable", "", "");
  const std::string part = body.substr(first, last - first + 1);
  return out.answer("206 Partial Content",
                    "Content-Range: bytes " + std::to_string(first) + "-" +
                        std::to_string(first + part.size() - 1) + "/" +
                        std::to_string(body.size()) + "\r\n",
                    part);
}

bool MisbehavingRegistry::serve_manifest(const RawConnection& out, const std::string& name) {
  std::lock_guard lock(x_mutex);
  const auto found = x_manifests.find(name);
  if (found == x_manifests.end()) {
    return out.answer("404 Not Found", "", R"({"errors":[{"message":"manifest unknown"}]})");
  }
  return out.answer("200 OK",
                    "Content-Type: " + found->second.type + "\r\nDocker-Content-Digest: " +
                        sha256(as_bytes(found->second.body)).to_string() + "\r\n",
                    found->second.body);
}

}  // namespace dedup::test
