#include "snapshotter/options.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <map>

namespace dedup {
namespace {

constexpr const char* kDescription =
    R"(dedup-snapshotter - remote snapshotter for containerd over a deduplicated pool

DESCRIPTION
  A proxy snapshotter (containerd.services.snapshots.v1). Layers whose labels name an image are
  served by dedupd and load lazily; all others are unpacked by containerd into directories, which
  dedupd turns into pool layers in the background. Without dedupd, plain snapshots still work.)";

constexpr const char* kFooter = R"(FILES
  ROOT/snapshots.db        metadata of all snapshots (SQLite)
  ROOT/snapshots/ID/fs     files of snapshot ID; work beside it belongs to overlayfs
  ROOT/removed             folders that wait for their deletion

CONTAINERD
  In config.toml:
    [proxy_plugins.dedup]
      type = "snapshot"
      address = "/run/dedup-snapshotter/snapshotter.sock"
    [proxy_plugins.dedup.exports]
      root = "/var/lib/dedup-snapshotter"
      enable_remote_snapshot_annotations = "true"

EXIT STATUS
  0  stopped by SIGTERM or SIGINT after the calls in progress
  1  could not start, one line on standard error says why
  2  wrong command line

SEE ALSO
  dedupd, dedupctl, dedup-kcheck)";

const std::map<std::string, LogLevel> kLevels = {{"debug", LogLevel::kDebug},
                                                 {"info", LogLevel::kInfo},
                                                 {"warn", LogLevel::kWarn},
                                                 {"error", LogLevel::kError}};
const std::map<std::string, LogFormat> kFormats = {{"text", LogFormat::kText},
                                                   {"json", LogFormat::kJson}};

}  // namespace

std::optional<SnapshotterOptions> parse_options(int argc, char** argv, int& exit_status) {
  SnapshotterOptions options;
  bool no_convert = false;
  std::string level = "info";
  std::string format = "text";
  CLI::App app(kDescription, "dedup-snapshotter");
  app.footer(kFooter);
  app.set_version_flag("--version", "dedup-snapshotter " DEDUP_VERSION);
  app.add_option("--root", options.root, "Folder of the snapshots and their metadata")
      ->capture_default_str();
  app.add_option("--address", options.address, "Unix socket containerd connects to")
      ->capture_default_str();
  app.add_option("--daemon", options.daemon, "Unix socket of dedupd")->capture_default_str();
  app.add_option("--log-level", level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}).description(""))
      ->type_name("LEVEL")
      ->capture_default_str();
  app.add_option("--log-format", format, "text or json")
      ->check(CLI::IsMember({"text", "json"}).description(""))
      ->type_name("FORMAT")
      ->capture_default_str();
  app.add_flag("--no-convert", no_convert, "Leave unpacked layers as directories");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    exit_status = app.exit(error) == 0 ? 0 : 2;
    return std::nullopt;
  }
  options.convert = !no_convert;
  options.log_level = kLevels.at(level);
  options.log_format = kFormats.at(format);
  // containerd mounts these paths from its own working directory.
  options.root = std::filesystem::absolute(options.root).lexically_normal();
  if (options.root.find_first_of(":,\\") != std::string::npos) {
    std::cerr << "--root: overlayfs cannot take a path with a colon, comma or backslash: "
              << options.root << "\n";
    exit_status = 2;
    return std::nullopt;
  }
  return options;
}

}  // namespace dedup
