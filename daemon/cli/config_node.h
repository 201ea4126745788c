// ConfigNode: one JSON value with the line it stands on, which the JSON library does not keep.
// Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dedup {

struct ConfigNode {
  enum class Kind : uint8_t { kNull, kFlag, kNumber, kOtherNumber, kText, kList, kObject };

  Kind kind = Kind::kNull;
  bool flag = false;
  uint64_t number = 0;    // kNumber: a whole number >= 0
  std::string text = {};  // kText; kOtherNumber: as written
  std::vector<ConfigNode> children = {};
  std::string key = {};  // as a member of an object
  size_t line = 1;       // of the key for members, else of the value

  // As a message shows it: "text", 17, a list, an object.
  std::string shown() const;
};

// errors  kInvalid "FILE:LINE: ...": syntax, a key given twice, deeper than any configuration is.
Result<ConfigNode> parse_config_node(std::string_view text, const std::string& file);

Error config_error(const std::string& file, size_t line, std::string_view sentence);

}  // namespace dedup
