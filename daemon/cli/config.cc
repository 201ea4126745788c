#include "cli/config.h"

#include <cerrno>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "cli/config_keys.h"
#include "cli/config_node.h"
#include "cli/sizes.h"

namespace dedup {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr std::string_view kRegistryKeys = "\"plain_http\", \"ca_file\", \"mirrors\"";

// Takes one value; nothing when the value is not allowed.
struct Apply {
  Config& config;
  const ConfigNode& node;

  bool operator()(const CountKey& k) const {
    if (node.kind != ConfigNode::Kind::kNumber) return false;
    k.field(config) = node.number;
    return node.number >= k.min && node.number <= k.max;
  }
  bool operator()(const SizeKey& k) const {
    std::optional<uint64_t> bytes;
    if (node.kind == ConfigNode::Kind::kNumber) bytes = node.number;
    if (node.kind == ConfigNode::Kind::kText) bytes = parse_size(node.text);
    if (!bytes || *bytes < k.min || *bytes > k.max) return false;
    k.field(config) = *bytes;
    return !k.power_of_two || (*bytes & (*bytes - 1)) == 0;
  }
  bool operator()(const FlagKey& k) const {
    if (node.kind != ConfigNode::Kind::kFlag) return false;
    k.field(config) = node.flag;
    return true;
  }
  bool operator()(const PathKey& k) const {
    if (node.kind != ConfigNode::Kind::kText || node.text.size() > k.max_bytes) return false;
    std::string path = node.text;
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    k.field(config) = path;
    if (path.empty()) return k.may_be_empty;
    return path.front() == '/' && path.find('\0') == std::string::npos;
  }
  bool operator()(const ChoiceKey& k) const {
    if (node.kind != ConfigNode::Kind::kText) return false;
    for (size_t i = 0; i < k.names.size(); ++i) {
      if (k.names[i] != node.text) continue;
      k.set(config, i);
      return true;
    }
    return false;
  }
};

class ConfigReader {
 public:
  explicit ConfigReader(const std::string& file) : x_file(file) {}

  Result<Config> read(const ConfigNode& root) {
    if (root.kind != ConfigNode::Kind::kObject) {
      return config_error(x_file, root.line,
                          "the file must hold one JSON object, it holds " + root.shown());
    }
    TRY(read_object(root, ""));
    TRY(check_pairs());
    return std::move(x_config);
  }

 private:
  Error bad(const ConfigNode& node, std::string_view key, std::string_view allowed) const {
    return config_error(
        x_file, node.line,
        "\"" + std::string(key) + "\" is " + node.shown() + "; it must be " + std::string(allowed));
  }

  // prefix: "" or "fetch."
  Result<void> read_object(const ConfigNode& object, const std::string& prefix) {
    for (const ConfigNode& node : object.children) {
      const std::string name = prefix + node.key;
      const bool plain = node.key.find('.') == std::string::npos;
      if (const ConfigKey* key = plain ? find(name) : nullptr) {
        if (!std::visit(Apply{x_config, node}, key->type)) {
          return bad(node, name, allowed_values(*key));
        }
        x_lines[name] = node.line;
      } else if (prefix.empty() && name == "registries") {
        TRY(read_registries(node));
      } else if (prefix.empty() && plain && is_section(name)) {
        if (node.kind != ConfigNode::Kind::kObject) return bad(node, name, "an object");
        TRY(read_object(node, name + "."));
      } else {
        return config_error(x_file, node.line,
                            "unknown key \"" + name + "\"; allowed here: " + names_in(prefix));
      }
    }
    return {};
  }

  static const ConfigKey* find(std::string_view name) {
    for (const ConfigKey& key : config_keys()) {
      if (key.name == name) return &key;
    }
    return nullptr;
  }

  static bool is_section(const std::string& name) {
    for (const ConfigKey& key : config_keys()) {
      if (key.name.starts_with(name + ".")) return true;
    }
    return false;
  }

  static std::string names_in(const std::string& prefix) {
    std::string names;
    std::string last;
    for (const ConfigKey& key : config_keys()) {
      if (!key.name.starts_with(prefix)) continue;
      const std::string rest(key.name.substr(prefix.size()));
      const std::string name = rest.substr(0, rest.find('.'));
      if (name == std::exchange(last, name)) continue;
      names += (names.empty() ? "\"" : ", \"") + name + "\"";
    }
    return prefix.empty() ? names + ", \"registries\"" : names;
  }

  Result<void> read_registries(const ConfigNode& object) {
    if (object.kind != ConfigNode::Kind::kObject) {
      return bad(object, "registries", "an object of HOST or HOST:PORT to settings");
    }
    for (const ConfigNode& node : object.children) {
      const std::string name = "registries." + node.key;
      if (node.key.empty() || node.key.find_first_of("/ @") != std::string::npos) {
        return config_error(x_file, node.line,
                            "\"" + node.key +
                                "\" is not a registry; it must be HOST or "
                                "HOST:PORT without scheme and path");
      }
      if (node.kind != ConfigNode::Kind::kObject) {
        return bad(node, name, "an object with " + std::string(kRegistryKeys));
      }
      TRY(read_registry(node, name));
    }
    return {};
  }

  static bool is_loopback(const std::string& host) {
    return host == "localhost" || host.starts_with("localhost:") || host.starts_with("127.") ||
           host.starts_with("[::1]");
  }

  Result<void> read_registry(const ConfigNode& object, const std::string& prefix) {
    RegistryConfig registry{.plain_http = is_loopback(object.key), .ca_file = {}, .mirrors = {}};
    for (const ConfigNode& node : object.children) {
      const std::string name = prefix + "." + node.key;
      if (node.key == "plain_http") {
        if (node.kind != ConfigNode::Kind::kFlag) return bad(node, name, "true or false");
        registry.plain_http = node.flag;
      } else if (node.key == "ca_file") {
        if (node.kind != ConfigNode::Kind::kText || !node.text.starts_with("/")) {
          return bad(node, name, "an absolute path");
        }
        registry.ca_file = node.text;
      } else if (node.key == "mirrors") {
        TRY(mirrors, read_mirrors(node, name));
        registry.mirrors = std::move(mirrors);
      } else {
        return config_error(
            x_file, node.line,
            "unknown key \"" + name + "\"; allowed here: " + std::string(kRegistryKeys));
      }
    }
    x_config.registries[object.key] = std::move(registry);
    return {};
  }

  Result<std::vector<std::string>> read_mirrors(const ConfigNode& list, const std::string& name) {
    constexpr std::string_view kAllowed = "a list of URLs that start with http:// or https://";
    if (list.kind != ConfigNode::Kind::kList) return bad(list, name, kAllowed);
    std::vector<std::string> mirrors;
    for (const ConfigNode& node : list.children) {
      if (node.kind != ConfigNode::Kind::kText ||
          (!node.text.starts_with("http://") && !node.text.starts_with("https://"))) {
        return bad(node, name, kAllowed);
      }
      mirrors.push_back(node.text);
    }
    return mirrors;
  }

  // What one value says about another.
  Result<void> check_pairs() const {
    if (x_config.limits.max_chunk_bytes < x_config.chunk_bytes) {
      return config_error(
          x_file, line_of("limits.max_chunk_bytes", "chunk_bytes"),
          "\"limits.max_chunk_bytes\" (" + exact_size(x_config.limits.max_chunk_bytes) +
              ") must not be less than \"chunk_bytes\" (" + exact_size(x_config.chunk_bytes) + ")");
    }
    if (x_config.fetch.memory_bytes < x_config.fetch.coalesce_max_bytes) {
      return config_error(x_file, line_of("fetch.memory_bytes", "fetch.coalesce_max_bytes"),
                          "\"fetch.memory_bytes\" (" + exact_size(x_config.fetch.memory_bytes) +
                              ") must not be less than \"fetch.coalesce_max_bytes\" (" +
                              exact_size(x_config.fetch.coalesce_max_bytes) + ")");
    }
    return {};
  }

  size_t line_of(const std::string& first, const std::string& second) const {
    if (const auto found = x_lines.find(first); found != x_lines.end()) return found->second;
    const auto found = x_lines.find(second);
    return found == x_lines.end() ? 1 : found->second;
  }

  const std::string& x_file;
  Config x_config;
  std::map<std::string, size_t> x_lines;
};

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& file) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    return config_error(file, 1, "the file is empty; write {} for the defaults");
  }
  TRY(root, parse_config_node(text, file));
  return ConfigReader(file).read(root);
}

Result<Config> load_config(const std::string& path, MissingFile missing) {
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream && errno == ENOENT && missing == MissingFile::kDefaults) return Config{};
  if (!stream) return errno_error(errno == 0 ? EIO : errno, "read configuration " + path);
  std::string text;
  text.resize(kMaxFileBytes + 1);
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (stream.bad() || (stream.fail() && !stream.eof())) {
    return errno_error(errno == 0 ? EIO : errno, "read configuration " + path);
  }
  text.resize(static_cast<size_t>(stream.gcount()));
  if (text.size() > kMaxFileBytes) {
    return make_error(Errc::kInvalid, path + " is larger than " + exact_size(kMaxFileBytes) +
                                          ": this is not a configuration");
  }
  return parse_config(text, path);
}

std::string print_config(const Config& config) {
  nlohmann::ordered_json root;
  for (const ConfigKey& key : config_keys()) {
    auto value = nlohmann::ordered_json::parse(printed_value(key, config), nullptr, false);
    const size_t dot = key.name.find('.');
    if (dot == std::string_view::npos) {
      root[std::string(key.name)] = std::move(value);
    } else {
      root[std::string(key.name.substr(0, dot))][std::string(key.name.substr(dot + 1))] =
          std::move(value);
    }
  }
  auto& registries = root["registries"] = nlohmann::ordered_json::object();
  for (const auto& [host, registry] : config.registries) {
    auto& entry = registries[host];
    entry["plain_http"] = registry.plain_http;
    if (!registry.ca_file.empty()) entry["ca_file"] = registry.ca_file;
    entry["mirrors"] = registry.mirrors;
  }
  return root.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string config_reference() {
  std::string table = "| key | default | allowed | meaning |\n|---|---|---|---|\n";
  for (const ConfigKey& key : config_keys()) {
    table += "| `" + std::string(key.name) + "` | `" + printed_value(key, {}) + "` | " +
             allowed_values(key) + " | " + std::string(key.about) + " |\n";
  }
  table +=
      "| `registries.HOST.plain_http` | `true` for loopback hosts, else `false` | true or false | "
      "speak HTTP without TLS |\n"
      "| `registries.HOST.ca_file` | | an absolute path | further trusted certificates (PEM) |\n"
      "| `registries.HOST.mirrors` | `[]` | a list of URLs that start with http:// or https:// | "
      "asked in this order before HOST |\n";
  return table;
}

}  // namespace dedup
