// The table of every scalar configuration key: name, type, allowed values, where it is kept. The
// one place for parsing, printing and the reference in README.md. Pure; any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "cli/config.h"

namespace dedup {

struct CountKey {
  uint64_t& (*field)(Config&);
  uint64_t min;
  uint64_t max;
};
struct SizeKey {
  uint64_t& (*field)(Config&);
  uint64_t min;
  uint64_t max;
  bool power_of_two = false;
};
struct FlagKey {
  bool& (*field)(Config&);
};
struct PathKey {
  std::string& (*field)(Config&);
  bool may_be_empty;
  size_t max_bytes = 4095;
};
struct ChoiceKey {
  std::span<const std::string_view> names;
  size_t (*get)(const Config&);
  void (*set)(Config&, size_t);
};

struct ConfigKey {
  std::string_view name;  // "fetch.retries"
  std::variant<CountKey, SizeKey, FlagKey, PathKey, ChoiceKey> type;
  std::string_view about;
};

std::span<const ConfigKey> config_keys();

std::string allowed_values(const ConfigKey& key);                   // "a whole number from 0 to 20"
std::string printed_value(const ConfigKey& key, const Config& of);  // as JSON

}  // namespace dedup
