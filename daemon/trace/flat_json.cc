#include "trace/flat_json.h"

#include <nlohmann/json.hpp>

namespace dedup {

using Json = nlohmann::json;

// Depth 1 is the object, depth 2 a list in it. With `list` the document is a list itself.
class FlatSax final : public nlohmann::json_sax<Json> {
 public:
  explicit FlatSax(bool list) : x_depth(list ? 1 : 0), x_floor(x_depth) {
    if (list) x_flat.x_values[x_key] = std::vector<std::string>();
  }

  Result<FlatJson> result() && {
    if (!x_problem.empty()) return make_error(Errc::kInvalid, x_problem);
    return std::move(x_flat);
  }

  bool null() override { return refuse("null"); }
  bool boolean(bool) override { return refuse("a flag"); }
  bool number_float(number_float_t, const string_t&) override { return bad_number(); }
  bool binary(binary_t&) override { return refuse("binary data"); }
  bool number_integer(number_integer_t number) override {
    return number < 0 ? bad_number() : take(static_cast<uint64_t>(number));
  }
  bool number_unsigned(number_unsigned_t number) override {
    return number > uint64_t{INT64_MAX} ? bad_number() : take(uint64_t{number});
  }
  bool string(string_t& text) override {
    if (x_depth == 2) {
      std::get<std::vector<std::string>>(x_flat.x_values[x_key]).push_back(std::move(text));
      return true;
    }
    return take(std::move(text));
  }
  bool key(string_t& name) override {
    x_key = std::move(name);
    return !x_flat.has(x_key) || fail("\"" + x_key + "\" is given twice");
  }
  bool start_object(size_t) override { return x_depth == 0 ? ++x_depth > 0 : refuse("an object"); }
  bool start_array(size_t) override {
    if (x_depth != 1) return refuse("a list");
    ++x_depth;
    x_flat.x_values[x_key] = std::vector<std::string>();
    return true;
  }
  bool end_object() override { return --x_depth, true; }
  bool end_array() override { return --x_depth, true; }
  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    return fail("not JSON at byte " + std::to_string(position));
  }

 private:
  bool take(FlatJson::Value value) {
    if (x_depth != 1 || x_floor == 1) return refuse("a single value");
    x_flat.x_values[x_key] = std::move(value);
    return true;
  }
  bool bad_number() { return fail("\"" + x_key + "\" is not a whole number of 0 to 2^63-1"); }
  bool refuse(const std::string& what) {
    const bool in_object = x_depth > x_floor && x_floor == 0;
    return fail(in_object ? "\"" + x_key + "\" is or holds " + what
                          : (x_floor == 1 ? "not a list of texts" : "not an object"));
  }
  bool fail(std::string problem) {
    if (x_problem.empty()) x_problem = std::move(problem);
    return false;
  }

  FlatJson x_flat;
  std::string x_key;
  int x_depth;
  int x_floor;
  std::string x_problem;
};

namespace {

Result<FlatJson> run(std::string_view text, bool list) {
  FlatSax sax(list);
  Json::sax_parse(text.begin(), text.end(), &sax);
  return std::move(sax).result();
}

}  // namespace

Result<FlatJson> FlatJson::parse(std::string_view line) {
  return run(line, false);
}

Result<std::vector<std::string>> parse_json_texts(std::string_view text) {
  TRY(list, run(text, true));
  return list.texts("");
}

template <typename T>
Result<T> FlatJson::get(const std::string& key, const char* kind) const {
  const auto found = x_values.find(key);
  if (found == x_values.end()) return make_error(Errc::kInvalid, "no \"" + key + "\"");
  if (const T* value = std::get_if<T>(&found->second)) return *value;
  return make_error(Errc::kInvalid, "\"" + key + "\" is not " + kind);
}

Result<uint64_t> FlatJson::number(const std::string& key) const {
  return get<uint64_t>(key, "a number");
}
Result<std::string> FlatJson::text(const std::string& key) const {
  return get<std::string>(key, "a text");
}
Result<std::vector<std::string>> FlatJson::texts(const std::string& key) const {
  return get<std::vector<std::string>>(key, "a list of texts");
}

}  // namespace dedup
