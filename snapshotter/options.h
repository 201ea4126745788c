// The command line of dedup-snapshotter. Pure but for the texts it prints.
#pragma once

#include <optional>
#include <string>

#include "base/log.h"

namespace dedup {

struct SnapshotterOptions {
  std::string root = "/var/lib/dedup-snapshotter/snapshotter";
  std::string address = "/run/dedup-snapshotter/snapshotter.sock";
  std::string daemon = "/run/dedup-snapshotter/dedupd.sock";
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
  bool convert = true;
};

// Reads argv. When there is nothing to run (--help, --version, a mistake) it prints what is due,
// sets `exit_status` and returns nothing.
std::optional<SnapshotterOptions> parse_options(int argc, char** argv, int& exit_status);

}  // namespace dedup
