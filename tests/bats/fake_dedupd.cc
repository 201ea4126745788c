// fake_dedupd SOCKET [--bad-chunks]: the real API server with canned answers, so that dedupctl's
// output and exit codes can be tested without a kernel door. Prints "ready" when it serves; SIGTERM
// ends it.
//   image names  with "absent": not_found; "corrupt": an error in the middle of a stream; others
//                are there. "slow" takes 10 s. Prints "pulling" when a pull begins.
#include <csignal>
#include <cstring>
#include <iostream>
#include <thread>

#include "api/fields.h"
#include "api/server.h"

namespace dedup {
namespace {

using nlohmann::json;

const std::string kDigest = "sha256:" + std::string(64, 'a');
const std::string kOtherDigest = "sha256:" + std::string(64, 'b');

json image(const std::string& reference) {
  return {{"ref", reference},
          {"manifest_digest", kDigest},
          {"layers", 2},
          {"compressed_bytes", 31457280},
          {"bytes", 104857600},
          {"present_bytes", 26214400},
          {"formats", {"estargz", "tar"}},
          {"mounts", {"/mnt/a"}}};
}

Task<Result<json>> pull(Ring* ring, ApiRequest request, ApiProgress progress) {
  Body body(request.body);
  const std::string reference = body.text("ref");
  const std::string target = body.optional_text("target");
  CO_TRY(body.outcome());
  if (reference.find("absent") != std::string::npos) {
    co_return make_error(Errc::kNotFound, "image " + reference + " does not exist");
  }
  std::cout << "pulling" << std::endl;
  const bool slow = reference.find("slow") != std::string::npos;
  for (uint64_t done = 0; done <= 10; ++done) {
    for (const std::string& layer : {kDigest, kOtherDigest}) {
      progress({{"layer", layer},
                {"state", done == 10 ? "ready" : "fetching"},
                {"done_bytes", done << 20},
                {"total_bytes", 10 << 20}});
    }
    co_await ring->sleep(std::chrono::milliseconds(slow ? 1000 : 20));
    if (done == 5 && reference.find("corrupt") != std::string::npos) {
      co_return make_error(Errc::kCorruption, "layer " + kDigest + " has another digest");
    }
  }
  json answer{{"image", image(reference)}};
  if (!target.empty()) answer["target"] = target;
  co_return answer;
}

Task<Result<json>> umount(ApiRequest request, ApiProgress) {
  CO_TRY(target, query_value(request, "target"));
  if (target == "/busy") co_return make_error(Errc::kExists, "/busy is in use");
  co_return json::object();
}

Task<Result<json>> images(ApiRequest, ApiProgress) {
  json list = json::array();
  list.push_back(image("registry.example/app:1.2"));
  list.push_back(image("oci:/srv/\033[31mx"));
  co_return json{{"images", std::move(list)}};
}

Task<Result<json>> rm(ApiRequest request, ApiProgress) {
  CO_TRY(reference, query_value(request, "ref"));
  if (reference.find("absent") != std::string::npos) {
    co_return make_error(Errc::kNotFound, "image " + reference + " is not in the pool");
  }
  co_return json{{"freed_bytes", 12 << 20}};
}

Task<Result<json>> status(ApiRequest, ApiProgress) {
  co_return json{{"version", "0.1.0"},
                 {"pid", 12},
                 {"keeper_pid", 11},
                 {"witness_pid", 13},
                 {"holders", 3},
                 {"guard", {{"armed", 1}, {"lost", 0}, {"killed", 0}}},
                 {"uptime_s", 90061},
                 {"root", "/var/lib/dedup-snapshotter"},
                 {"door", "fanotify"},
                 {"door_reason", "probe passed"},
                 {"chains",
                  {{{"chain", kDigest},
                    {"mountpoint", "/var/lib/dedup-snapshotter/chains/1"},
                    {"layers", 3},
                    {"holders", {"snapshot:1", "mount:/mnt/a"}},
                    {"complete", false}}}},
                 {"segments", {{"total", 5}, {"complete", 3}, {"marked", 2}}},
                 {"events", {{"answered", 12345}, {"denied", 1}, {"recovered", 2}}},
                 {"fetch",
                  {{"bytes", 1 << 30},
                   {"requests", 17},
                   {"errors", 1},
                   {"retries", 4},
                   {"digest_mismatches", 0}}},
                 {"worker_restarts", 1},
                 {"memory", {{"rss_bytes", 30 << 20}, {"peak_rss_bytes", 50 << 20}}}};
}

Task<Result<json>> pool(ApiRequest, ApiProgress) {
  co_return json{{"chunks", 1000},
                 {"bytes", 1000 << 20},
                 {"present_bytes", 250 << 20},
                 {"disk_bytes", 1 << 28},
                 {"shared_chunks", 100},
                 {"shared_bytes", 100 << 20},
                 {"saved_bytes", 150 << 20},
                 {"segments", 5},
                 {"layers", 7},
                 {"images", 2},
                 {"free_bytes", 1ull << 40}};
}

Task<Result<json>> check(bool bad, ApiRequest request, ApiProgress progress) {
  Body body(request.body);
  const bool repair = body.flag("repair");
  CO_TRY(body.outcome());
  progress({{"checked_bytes", 1 << 20}, {"total_bytes", 2 << 20}});
  json list = json::array();
  if (bad) {
    list.push_back({{"digest", kDigest}, {"segment", 3}, {"offset", 8192}, {"bytes", 4096}});
  }
  co_return json{
      {"checked_chunks", 42}, {"checked_bytes", 2 << 20}, {"missing_bytes", 1 << 20}, {"bad", list},
      {"clean", !bad},        {"repaired", repair}};
}

std::vector<ApiRoute> routes(Ring* ring, bool bad) {
  const auto pulls = [ring](ApiRequest request, ApiProgress progress) {
    return pull(ring, std::move(request), std::move(progress));
  };
  return {{"POST", "/v1/pulls", true, pulls},
          {"POST", "/v1/mounts", true, pulls},
          {"DELETE", "/v1/mounts", false, umount},
          {"GET", "/v1/images", false, images},
          {"DELETE", "/v1/images", false, rm},
          {"GET", "/v1/status", false, status},
          {"GET", "/v1/pool", false, pool},
          {"POST", "/v1/checks", true, [bad](ApiRequest request, ApiProgress progress) {
             return check(bad, std::move(request), std::move(progress));
           }}};
}

int run(const std::string& socket, bool bad) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  auto ring = Ring::open();
  if (!ring.ok()) return 1;
  std::thread loop([&] { (*ring)->run(); });
  Log log;
  auto server = ApiServer::open(**ring, log, socket, routes(ring->get(), bad));
  if (server.ok()) {
    std::cout << "ready" << std::endl;
    int signal = 0;
    sigwait(&signals, &signal);
    server->reset();
  } else {
    std::cerr << server.error().to_string() << "\n";
  }
  (*ring)->stop();
  loop.join();
  return server.ok() ? 0 : 1;
}

}  // namespace
}  // namespace dedup

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  return dedup::run(argv[1], argc > 2 && std::strcmp(argv[2], "--bad-chunks") == 0);
}
