// Config: what config.json says, with a default for every key. load_config is strict: an unknown
// key, a value out of range or a syntax error names FILE:LINE, the key and what is allowed. Pure
// but for load_config; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/result.h"

namespace dedup {

inline constexpr const char* kDefaultConfigFile = "/etc/dedup-snapshotter/config.json";

enum class DoorSetting : uint8_t { kAuto, kCachefiles, kFanotify, kFuse };

// One entry of "registries"; its key is HOST or HOST:PORT as in image references.
struct RegistryConfig {
  bool plain_http = false;  // not given: true for localhost, 127.0.0.0/8 and [::1]
  std::string ca_file;
  std::vector<std::string> mirrors;  // base URLs, asked in this order before the host
};

struct FetchConfig {
  uint64_t max_connections_per_host = 16;
  uint64_t max_transfers = 32;
  uint64_t retries = 3;
  uint64_t stall_timeout_ms = 30'000;
  uint64_t max_retry_after_ms = 10'000;
  uint64_t coalesce_gap_bytes = 16 << 10;
  uint64_t coalesce_max_bytes = 4 << 20;
  uint64_t memory_bytes = 32 << 20;
  uint64_t readahead_bytes = 32 << 20;
  uint64_t readaround_bytes = 256 << 10;
};

struct PrefetchConfig {
  bool enabled = true;
  uint64_t workers = 12;
  uint64_t queue_size = 65'536;
  uint64_t coalesce_gap_bytes = 64 << 10;
  uint64_t max_bytes_per_s = 0;  // no limit
  bool from_registry = true;
  bool fill = false;
  std::string trace_dir;  // empty: ROOT/traces
};

struct TraceConfig {
  uint64_t auto_starts = 3;
  uint64_t max_time_ms = 30'000;
  uint64_t quiet_time_ms = 5'000;
};

struct LimitsConfig {
  uint64_t max_entries = 4'000'000;
  uint64_t max_file_bytes = 1ull << 44;
  uint64_t max_uncompressed_bytes = 1ull << 40;
  uint64_t max_toc_bytes = 512ull << 20;
  uint64_t max_chunk_bytes = 64ull << 20;
  uint64_t min_free_bytes = 256ull << 20;
  uint64_t max_pool_bytes = 0;  // no limit
};

struct Config {
  std::string root = "/var/lib/dedup-snapshotter";
  std::string socket = "/run/dedup-snapshotter/dedupd.sock";
  DoorSetting door = DoorSetting::kAuto;
  uint64_t chunk_bytes = 4 << 20;  // a power of two, >= 4096
  uint64_t worker_threads = 0;     // one per CPU
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
  std::map<std::string, RegistryConfig> registries;
  std::string docker_config;  // empty: $DOCKER_CONFIG/config.json, else /root/.docker/config.json
  FetchConfig fetch;
  PrefetchConfig prefetch;
  TraceConfig trace;
  LimitsConfig limits;
  uint64_t stop_timeout_ms = 10'000;
  bool mount_directio = false;
  uint64_t mount_keep_idle_ms = 600'000;
};

// file    shown in errors
// errors  kInvalid, one sentence "FILE:LINE: ..."
Result<Config> parse_config(std::string_view text, const std::string& file);

enum class MissingFile : uint8_t { kDefaults, kError };
Result<Config> load_config(const std::string& path, MissingFile missing);

// The whole configuration as JSON that load_config reads back to the same.
std::string print_config(const Config& config);

// The reference table of README.md (Markdown): key, default, allowed values, meaning.
std::string config_reference();

}  // namespace dedup
