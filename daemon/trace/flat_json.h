// One line of JSON whose value is an object of numbers, texts and lists of texts: the kind profiles
// and record files are made of. Input is hostile: depth, sizes and repeated keys are checked. Pure;
// any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace dedup {

class FlatJson {
 public:
  // errors  kInvalid: not JSON, not such an object, a key twice, a number that is not a whole one
  //         of 0 to 2^63-1
  static Result<FlatJson> parse(std::string_view line);

  bool has(const std::string& key) const { return x_values.contains(key); }
  // Of a required key: kInvalid when it is absent or of another kind.
  Result<uint64_t> number(const std::string& key) const;
  Result<std::string> text(const std::string& key) const;
  Result<std::vector<std::string>> texts(const std::string& key) const;

 private:
  friend class FlatSax;
  using Value = std::variant<uint64_t, std::string, std::vector<std::string>>;
  template <typename T>
  Result<T> get(const std::string& key, const char* kind) const;
  std::map<std::string, Value> x_values;
};

// A JSON array of texts and nothing else.
Result<std::vector<std::string>> parse_json_texts(std::string_view text);

}  // namespace dedup
