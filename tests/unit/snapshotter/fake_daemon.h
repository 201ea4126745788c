// FakeDaemon: the calls of protocol.md a snapshotter makes, answered from memory on a unix socket.
// Holders behave as the daemon's do. `fail_*` make the next answers errors.
#pragma once

#include <httplib.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace dedup {

class FakeDaemon {
 public:
  using json = nlohmann::json;

  // `mountpoints` is a folder that stands in for the daemon's mounts.
  FakeDaemon(std::string socket, std::string mountpoints)
      : x_socket(std::move(socket)), x_mountpoints(std::move(mountpoints)) {
    x_server.set_address_family(AF_UNIX);
    route();
    x_thread = std::thread([this] { x_server.listen(x_socket, 80); });
    while (!x_server.is_running()) std::this_thread::yield();
  }
  ~FakeDaemon() {
    x_server.stop();
    x_thread.join();
    ::unlink(x_socket.c_str());
  }

  std::vector<json> requests(const std::string& path) {
    const std::lock_guard lock(x_mutex);
    std::vector<json> found;
    for (const auto& [at, body] : x_requests) {
      if (at == path) found.push_back(body);
    }
    return found;
  }
  std::set<std::string> holders() {
    const std::lock_guard lock(x_mutex);
    return x_holders;
  }

  struct Refusal {
    int status = 200;
    std::string code;
  };
  void refuse(const std::string& path, Refusal refusal) {
    const std::lock_guard lock(x_mutex);
    x_refusals[path] = std::move(refusal);
  }
  std::function<void()> during_layer = [] {};

 private:
  void route() {
    post("/v1/layers", [this](const json& body) {
      during_layer();
      return json{{"layer", body["layer_digest"]}, {"format", "estargz"}, {"lazy", true}};
    });
    post("/v1/imports", [](const json&) {
      return json{{"layer", "sha256:" + std::string(64, 'f')}};
    });
    post("/v1/chains", [this](const json& body) {
      std::string name;
      for (const json& layer : body["layers"]) name += layer.get<std::string>().substr(7, 8) + "-";
      const std::string path = x_mountpoints + "/" + name;
      ::mkdir(path.c_str(), 0755);
      return json{{"mountpoint", path}};
    });
    x_server.Get("/v1/holders", [this](const httplib::Request& request, httplib::Response& answer) {
      const std::lock_guard lock(x_mutex);
      json names = json::array();
      const std::string prefix = request.get_param_value("prefix");
      for (const std::string& name : x_holders) {
        if (name.starts_with(prefix)) names.push_back(name);
      }
      answer.set_content(json{{"holders", names}}.dump(), "application/json");
    });
    x_server.Delete("/v1/holders",
                    [this](const httplib::Request& request, httplib::Response& answer) {
                      const std::lock_guard lock(x_mutex);
                      x_holders.erase(request.get_param_value("holder"));
                      answer.set_content(R"({"freed_bytes": 0})", "application/json");
                    });
  }

  void post(const std::string& path, std::function<json(const json&)> make) {
    x_server.Post(path,
                  [this, path, make](const httplib::Request& request, httplib::Response& answer) {
                    const json body = json::parse(request.body);
                    Refusal refusal;
                    {
                      const std::lock_guard lock(x_mutex);
                      x_requests.emplace_back(path, body);
                      if (x_refusals.contains(path)) refusal = x_refusals[path];
                      if (refusal.status == 200)
                        x_holders.insert(body["holder"].get<std::string>());
                    }
                    if (refusal.status == 200) {
                      answer.set_content(make(body).dump(), "application/json");
                      return;
                    }
                    answer.status = refusal.status;
                    const json error = {{"code", refusal.code}, {"message", "refused by the test"}};
                    answer.set_content(json{{"error", error}}.dump(), "application/json");
                  });
  }

  std::string x_socket;
  std::string x_mountpoints;
  httplib::Server x_server;
  std::thread x_thread;
  std::mutex x_mutex;
  std::vector<std::pair<std::string, json>> x_requests;
  std::map<std::string, Refusal> x_refusals;
  std::set<std::string> x_holders;
};

}  // namespace dedup
