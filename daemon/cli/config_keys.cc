#include "cli/config_keys.h"

#include <array>

#include "cli/sizes.h"

namespace dedup {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;
constexpr uint64_t kGiB = 1024 * kMiB;
constexpr uint64_t kTiB = 1024 * kGiB;
constexpr uint64_t kHourMs = 3'600'000;
constexpr size_t kMaxSocketPathBytes = 107;  // sun_path

constexpr std::array<std::string_view, 4> kDoors{"auto", "cachefiles", "fanotify", "fuse"};
constexpr std::array<std::string_view, 4> kLevels{"debug", "info", "warn", "error"};
constexpr std::array<std::string_view, 2> kFormats{"text", "json"};

// Shortens the table: the member `path` of a Config as a plain function.
#define DEDUP_FIELD(type, path) [](Config& c) -> type& { return c.path; }
#define DEDUP_CHOICE(type, path)                               \
  [](const Config& c) { return static_cast<size_t>(c.path); }, \
      [](Config& c, size_t index) { c.path = static_cast<type>(index); }

const std::array kKeys{
    ConfigKey{"root", PathKey{DEDUP_FIELD(std::string, root), false},
              "where the pool, metadata images and mounts are kept; one dedupd per root"},
    ConfigKey{"socket", PathKey{DEDUP_FIELD(std::string, socket), false, kMaxSocketPathBytes},
              "unix socket of the control API, mode 0600"},
    ConfigKey{"door", ChoiceKey{kDoors, DEDUP_CHOICE(DoorSetting, door)},
              "how the kernel asks for missing bytes; auto takes the first that works when tried"},
    ConfigKey{"chunk_bytes", SizeKey{DEDUP_FIELD(uint64_t, chunk_bytes), 4 * kKiB, 64 * kMiB, true},
              "longest run of a file that is deduplicated and verified as one"},
    ConfigKey{"worker_threads", CountKey{DEDUP_FIELD(uint64_t, worker_threads), 0, 256},
              "threads that inflate, hash and write; 0: one per CPU, at least 4"},
    ConfigKey{"log.level", ChoiceKey{kLevels, DEDUP_CHOICE(LogLevel, log_level)},
              "least important line that is logged"},
    ConfigKey{"log.format", ChoiceKey{kFormats, DEDUP_CHOICE(LogFormat, log_format)},
              "logfmt for people or one JSON object per line"},
    ConfigKey{"docker_config", PathKey{DEDUP_FIELD(std::string, docker_config), true},
              "credentials; empty: $DOCKER_CONFIG/config.json, else /root/.docker/config.json"},
    ConfigKey{"fetch.max_connections_per_host",
              CountKey{DEDUP_FIELD(uint64_t, fetch.max_connections_per_host), 1, 256},
              "connections to one registry host"},
    ConfigKey{"fetch.max_transfers", CountKey{DEDUP_FIELD(uint64_t, fetch.max_transfers), 1, 1024},
              "requests in flight; more wait by priority"},
    ConfigKey{"fetch.retries", CountKey{DEDUP_FIELD(uint64_t, fetch.retries), 0, 20},
              "repeats after a network error or 5xx"},
    ConfigKey{"fetch.stall_timeout_ms",
              CountKey{DEDUP_FIELD(uint64_t, fetch.stall_timeout_ms), 100, kHourMs},
              "a transfer without a byte for so long has failed"},
    ConfigKey{"fetch.max_retry_after_ms",
              CountKey{DEDUP_FIELD(uint64_t, fetch.max_retry_after_ms), 0, kHourMs},
              "longest Retry-After of a registry that is waited for"},
    ConfigKey{"fetch.coalesce_gap_bytes",
              SizeKey{DEDUP_FIELD(uint64_t, fetch.coalesce_gap_bytes), 0, 64 * kMiB},
              "unwanted bytes read along to save a request"},
    ConfigKey{"fetch.coalesce_max_bytes",
              SizeKey{DEDUP_FIELD(uint64_t, fetch.coalesce_max_bytes), 4 * kKiB, kGiB},
              "longest ranged request"},
    ConfigKey{"fetch.memory_bytes", SizeKey{DEDUP_FIELD(uint64_t, fetch.memory_bytes), kMiB, kTiB},
              "fetched bytes in memory that are not yet in the pool"},
    ConfigKey{"fetch.readahead_bytes",
              SizeKey{DEDUP_FIELD(uint64_t, fetch.readahead_bytes), 0, 4 * kGiB},
              "fetched ahead of a reader that goes through a large file; 0: nothing"},
    ConfigKey{"fetch.readaround_bytes",
              SizeKey{DEDUP_FIELD(uint64_t, fetch.readaround_bytes), 0, 64 * kMiB},
              "of a layer's blob, fetched along with a small file that a reader waits for"},
    ConfigKey{"prefetch.enabled", FlagKey{DEDUP_FIELD(bool, prefetch.enabled)},
              "fetch what containers of an image are going to read: by its access profile, else as "
              "its maker marked it (eStargz prefetch landmark)"},
    ConfigKey{"prefetch.workers", CountKey{DEDUP_FIELD(uint64_t, prefetch.workers), 1, 64},
              "requests of the prefetch under way at once, at most three quarters of those to one "
              "registry"},
    ConfigKey{"prefetch.queue_size",
              CountKey{DEDUP_FIELD(uint64_t, prefetch.queue_size), 1, 10'000'000},
              "file ranges of one profile that are prefetched, the first ones"},
    ConfigKey{"prefetch.coalesce_gap_bytes",
              SizeKey{DEDUP_FIELD(uint64_t, prefetch.coalesce_gap_bytes), 0, 64 * kMiB},
              "unwanted bytes read along to save a request of the prefetch"},
    ConfigKey{"prefetch.max_bytes_per_s",
              SizeKey{DEDUP_FIELD(uint64_t, prefetch.max_bytes_per_s), 0, kTiB},
              "share of the link that prefetch may take; 0: what readers leave"},
    ConfigKey{"prefetch.from_registry", FlagKey{DEDUP_FIELD(bool, prefetch.from_registry)},
              "ask an image's registry for a profile when the node has none"},
    ConfigKey{"prefetch.fill", FlagKey{DEDUP_FIELD(bool, prefetch.fill)},
              "then fetch the rest of the image, when nothing else is to do"},
    ConfigKey{"prefetch.trace_dir", PathKey{DEDUP_FIELD(std::string, prefetch.trace_dir), true},
              "where recorded starts and profiles are kept; empty: ROOT/traces"},
    ConfigKey{"trace.auto_starts", CountKey{DEDUP_FIELD(uint64_t, trace.auto_starts), 0, 16},
              "container starts of each image that are recorded by themselves"},
    ConfigKey{"trace.max_time_ms", CountKey{DEDUP_FIELD(uint64_t, trace.max_time_ms), 100, kHourMs},
              "a start is recorded at most so long, unless \"trace start\" asked for it"},
    ConfigKey{"trace.quiet_time_ms",
              CountKey{DEDUP_FIELD(uint64_t, trace.quiet_time_ms), 100, kHourMs},
              "it has ended when the container touched nothing new for so long"},
    ConfigKey{"limits.max_entries",
              CountKey{DEDUP_FIELD(uint64_t, limits.max_entries), 1, 1'000'000'000},
              "files of one layer"},
    ConfigKey{"limits.max_file_bytes",
              SizeKey{DEDUP_FIELD(uint64_t, limits.max_file_bytes), 1, 8192 * kTiB},
              "size of one file"},
    ConfigKey{"limits.max_uncompressed_bytes",
              SizeKey{DEDUP_FIELD(uint64_t, limits.max_uncompressed_bytes), 1, 8192 * kTiB},
              "uncompressed size of one layer: decompression bombs stop here"},
    ConfigKey{"limits.max_toc_bytes",
              SizeKey{DEDUP_FIELD(uint64_t, limits.max_toc_bytes), 4 * kKiB, 4 * kGiB},
              "uncompressed table of contents of a lazy layer"},
    ConfigKey{"limits.max_chunk_bytes",
              SizeKey{DEDUP_FIELD(uint64_t, limits.max_chunk_bytes), 4 * kKiB, kGiB},
              "one chunk of a lazy layer; at least chunk_bytes"},
    ConfigKey{"limits.min_free_bytes",
              SizeKey{DEDUP_FIELD(uint64_t, limits.min_free_bytes), 0, 8192 * kTiB},
              "the pool leaves so much of its file system free"},
    ConfigKey{"limits.max_pool_bytes",
              SizeKey{DEDUP_FIELD(uint64_t, limits.max_pool_bytes), 0, 8192 * kTiB},
              "disk space of the pool; 0: no limit"},
    ConfigKey{"stop_timeout_ms", CountKey{DEDUP_FIELD(uint64_t, stop_timeout_ms), 100, kHourMs},
              "a clean stop takes at most so long"},
    ConfigKey{"mount.directio", FlagKey{DEDUP_FIELD(bool, mount_directio)},
              "EROFS reads the pool without a second copy in the page cache"},
    ConfigKey{"mount.keep_idle_ms", CountKey{DEDUP_FIELD(uint64_t, mount_keep_idle_ms), 0, kHourMs},
              "an image that no container uses stays mounted for so long, so that its next start "
              "finds the pages of the last; 0: not at all, nor is it mounted during the pull"},
};

#undef DEDUP_FIELD
#undef DEDUP_CHOICE

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + "\"";
}

struct Allowed {
  std::string operator()(const CountKey& k) const {
    return "a whole number from " + std::to_string(k.min) + " to " + std::to_string(k.max);
  }
  std::string operator()(const SizeKey& k) const {
    return "a size from " + exact_size(k.min) + " to " + exact_size(k.max) +
           (k.power_of_two ? ", a power of two" : "") + " (bytes, or text like \"4MiB\")";
  }
  std::string operator()(const FlagKey&) const { return "true or false"; }
  std::string operator()(const PathKey& k) const {
    std::string text = "an absolute path";
    if (k.max_bytes == kMaxSocketPathBytes) {
      text += " of at most " + std::to_string(k.max_bytes) + " bytes";
    }
    return text + (k.may_be_empty ? " or \"\"" : "");
  }
  std::string operator()(const ChoiceKey& k) const {
    std::string text;
    for (size_t i = 0; i < k.names.size(); ++i) {
      if (i > 0) text += i + 1 == k.names.size() ? " or " : ", ";
      text += quoted(k.names[i]);
    }
    return text;
  }
};

struct Printed {
  Config config;  // a copy: the table's accessors are for writing, too
  std::string operator()(const CountKey& k) { return std::to_string(k.field(config)); }
  std::string operator()(const SizeKey& k) {
    const uint64_t bytes = k.field(config);
    return bytes == 0 ? "0" : quoted(exact_size(bytes));
  }
  std::string operator()(const FlagKey& k) { return k.field(config) ? "true" : "false"; }
  std::string operator()(const PathKey& k) { return quoted(k.field(config)); }
  std::string operator()(const ChoiceKey& k) { return quoted(k.names[k.get(config)]); }
};

}  // namespace

std::span<const ConfigKey> config_keys() {
  return kKeys;
}

std::string allowed_values(const ConfigKey& key) {
  return std::visit(Allowed{}, key.type);
}

std::string printed_value(const ConfigKey& key, const Config& of) {
  return std::visit(Printed{of}, key.type);
}

}  // namespace dedup
