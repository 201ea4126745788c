#include "snapshotter/daemon_client.h"

#include <cerrno>

#include "api/client.h"

namespace dedup {
namespace {

using nlohmann::json;

// A plain layer is fetched whole before add_layer answers.
constexpr auto kAnswerTimeout = std::chrono::hours(24);
constexpr auto kHousekeepingTimeout = std::chrono::minutes(10);
constexpr int kAttempts = 3;  // one that finds the worker dying, one more unlucky, one that works

Result<std::string> text_field(const json& answer, const char* name) {
  const auto field = answer.find(name);
  if (field == answer.end() || !field->is_string() || field->get_ref<const std::string&>().empty())
    return make_error(Errc::kIo, std::string("the daemon's answer lacks \"") + name + "\"");
  return field->get<std::string>();
}

}  // namespace

Result<json> DaemonClient::repeat(const char* method, const std::string& path,
                                  const json& body) const {
  const bool patient = !x_gave_up;
  const ApiClient client(
      {x_socket, patient ? x_patience : std::chrono::milliseconds(0), kAnswerTimeout});
  for (int attempt = 1;; ++attempt) {
    auto answer = client.call(method, path, body);
    const int number = answer.ok() ? 0 : answer.error().sys_errno;
    x_gave_up = number == ECONNREFUSED || number == ENOENT;
    // A daemon that starts replaces its socket file: for a moment there is none.
    const bool again = number == ECONNRESET || (number == ENOENT && patient);
    if (!again || attempt == kAttempts) return answer;
  }
}

Result<json> DaemonClient::call_once(const char* method, const char* parameter,
                                     const std::string& value) const {
  const ApiClient client({x_socket, std::chrono::milliseconds(0), kHousekeepingTimeout});
  auto answer = client.call(method, "/v1/holders", nullptr, {{parameter, value}});
  if (answer.ok()) x_gave_up = false;
  return answer;
}

Result<std::string> DaemonClient::add_layer(const RemoteLayer& layer,
                                            const std::string& holder) const {
  json body = {{"ref", layer.ref}, {"layer_digest", layer.layer_digest}, {"holder", holder}};
  if (!layer.manifest_digest.empty()) body["manifest_digest"] = layer.manifest_digest;
  if (!layer.layers.empty()) body["layers"] = layer.layers;
  TRY(answer, repeat("POST", "/v1/layers", body));
  return text_field(answer, "layer");
}

Result<std::string> DaemonClient::import_directory(const std::string& directory,
                                                   const std::string& holder) const {
  const json body = {{"directory", directory}, {"holder", holder}};
  TRY(answer, repeat("POST", "/v1/imports", body));
  return text_field(answer, "layer");
}

Result<std::string> DaemonClient::mount_chain(const Lower& lower, const std::string& holder) const {
  const json body = {
      {"layers", lower.layers}, {"keep_whiteouts", lower.keep_whiteouts}, {"holder", holder}};
  TRY(answer, repeat("POST", "/v1/chains", body));
  return text_field(answer, "mountpoint");
}

Result<std::vector<std::string>> DaemonClient::holders(const std::string& prefix) const {
  TRY(answer, call_once("GET", "prefix", prefix));
  const auto list = answer.find("holders");
  if (list == answer.end() || !list->is_array())
    return make_error(Errc::kIo, "the daemon's answer lacks \"holders\"");
  std::vector<std::string> names;
  for (const json& name : *list) {
    if (name.is_string()) names.push_back(name.get<std::string>());
  }
  return names;
}

Result<void> DaemonClient::release(const std::string& holder) const {
  TRY(call_once("DELETE", "holder", holder));
  return {};
}

}  // namespace dedup
