// SnapshotFilter: containerd's filter syntax over snapshots.
//   filter    = selector ("," selector)*          all must match
//   selector  = path [("==" | "!=" | "~=") value]  without operator: the field is present
//   path      = field ("." field)*                 name, parent, kind, labels.NAME
//   field, value may be quoted: "..." with Go escapes
// `~=` (a regular expression) is not evaluated and matches whatever has the field: containerd
// checks listed snapshots itself, so a superset is a correct answer. Pure; any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "snapshotter/snapshot.h"

namespace dedup {

class SnapshotFilter {
 public:
  // errors  kInvalid, with the position.
  static Result<SnapshotFilter> parse(std::string_view text);
  bool matches(const SnapshotInfo& info) const;

 private:
  enum class Operator : uint8_t { kPresent, kEqual, kNotEqual, kRegex };
  struct Selector {
    std::vector<std::string> path;
    Operator op = Operator::kPresent;
    std::string value;
    bool matches(const SnapshotInfo& info) const;
  };
  friend class FilterParser;

  std::vector<Selector> x_selectors;
};

// True when any filter matches; no filter at all matches everything.
bool matches_any(std::span<const SnapshotFilter> filters, const SnapshotInfo& info);

}  // namespace dedup
