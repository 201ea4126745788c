// MisbehavingRegistry: a small registry on loopback that serves and takes blobs and manifests
// correctly (with ranges, referrers, and authentication when asked to) until its fault takes over
// an answer.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "unit/io/raw_http_server.h"

namespace dedup::test {

class MisbehavingRegistry {
 public:
  enum class Auth { kNone, kBasic, kBearer };
  // Whether it has the referrers API, and whether that filters by artifactType.
  enum class Referrers { kNone, kFiltered, kUnfiltered };
  // Returns what a RawHttpServer::Handler does, or nullopt to let the registry answer.
  using Fault = std::function<std::optional<bool>(const RawRequest&, const RawConnection&)>;

  MisbehavingRegistry();

  std::string host() const { return x_server.host(); }
  std::string url(std::string_view target) const { return x_server.url(target); }

  Digest add_blob(std::string bytes);
  // Also reachable by its digest.
  Digest add_manifest(const std::string& tag, const std::string& type, std::string body);
  // A manifest with one layer and its config; returns the manifest's digest.
  Digest add_image(const std::string& tag, const std::string& layer);

  void set_auth(Auth auth);
  // Tokens given out before are refused from now on.
  void expire_tokens();
  void set_fault(Fault fault);
  // Answers `status` to the next `times` requests whose target contains `part`.
  void fail_next(int times, const std::string& part, const std::string& status,
                 const std::string& headers = "");

  void set_referrers(Referrers referrers);
  // What goes before "/v2/..." in the Location of an upload: "" is relative, url("") absolute.
  void set_upload_origin(std::string origin);
  // The body under a tag or digest, "" for none.
  std::string manifest(const std::string& name) const;

  // Requests seen whose target contains `part`.
  std::vector<RawRequest> seen(const std::string& part, const std::string& method = "") const;

  static constexpr const char* kUser = "alice";
  static constexpr const char* kPassword = "open-sesame";
  static constexpr const char* kRepository = "team/app";

 private:
  struct Document {
    std::string type;
    std::string body;
  };

  bool handle(const RawRequest& request, const RawConnection& out);
  bool authorized(const RawRequest& request) const;
  bool challenge(const RawRequest& request, const RawConnection& out) const;
  bool give_token(const RawRequest& request, const RawConnection& out);
  bool serve_blob(const RawRequest& request, const RawConnection& out, const std::string& name);
  bool serve_manifest(const RawRequest& request, const RawConnection& out, const std::string& name);
  bool serve_referrers(const RawRequest& request, const RawConnection& out,
                       const std::string& subject);
  bool begin_upload(const RawConnection& out);
  bool take_blob(const RawRequest& request, const RawConnection& out);
  bool take_manifest(const RawRequest& request, const RawConnection& out, const std::string& name);

  mutable std::mutex x_mutex;  // protects everything but the server
  Auth x_auth = Auth::kNone;
  Referrers x_referrers = Referrers::kNone;
  std::string x_upload_origin;
  int x_uploads = 0;
  int x_token = 0;
  Fault x_fault;
  std::map<std::string, std::string> x_blobs;
  std::map<std::string, Document> x_manifests;
  std::vector<RawRequest> x_seen;
  RawHttpServer x_server;  // last: its threads end first
};

}  // namespace dedup::test
