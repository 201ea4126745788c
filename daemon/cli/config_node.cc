#include "cli/config_node.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

namespace dedup {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 8;
constexpr size_t kMaxShownBytes = 120;

// Counts what the parser has read: its events come right after the token they speak of.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** furthest) : x_at(at), x_furthest(furthest) {}
  const char& operator*() const { return *x_at; }
  CountingIterator& operator++() {
    *x_furthest = ++x_at;
    return *this;
  }
  CountingIterator operator++(int) {
    const CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return x_at == other.x_at; }

 private:
  const char* x_at;
  const char** x_furthest;
};

class NodeBuilder final : public nlohmann::json_sax<json> {
 public:
  NodeBuilder(std::string_view text, const std::string& file, const char* const* furthest)
      : x_text(text), x_file(file), x_furthest(furthest) {}

  bool null() override { return value({}); }
  bool boolean(bool flag) override {
    return value({.kind = ConfigNode::Kind::kFlag, .flag = flag});
  }
  bool number_integer(number_integer_t number) override {
    return value({.kind = ConfigNode::Kind::kOtherNumber, .text = std::to_string(number)});
  }
  bool number_unsigned(number_unsigned_t number) override {
    return value({.kind = ConfigNode::Kind::kNumber, .number = number});
  }
  bool number_float(number_float_t, const string_t& spelled) override {
    return value({.kind = ConfigNode::Kind::kOtherNumber, .text = spelled});
  }
  bool string(string_t& text) override {
    return value({.kind = ConfigNode::Kind::kText, .text = std::move(text)});
  }
  bool binary(binary_t&) override { return fail("binary data"); }
  bool start_object(size_t) override { return open(ConfigNode::Kind::kObject); }
  bool end_object() override { return close(); }
  bool start_array(size_t) override { return open(ConfigNode::Kind::kList); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    for (const ConfigNode& sibling : x_open.back().children) {
      if (sibling.key == name) {
        return fail("key \"" + name + "\" is given twice, first in line " +
                    std::to_string(sibling.line));
      }
    }
    x_keys.back() = {std::move(name), line()};
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& e) override {
    std::string_view what = e.what();  // "[json.exception...] parse error at line L, column C: WHY"
    if (const auto colon = what.find(": "); colon != what.npos) what.remove_prefix(colon + 2);
    const size_t end = position == 0 ? 0 : std::min(position - 1, x_text.size());
    x_error = config_error(x_file, line_at(end), "not JSON: " + std::string(what));
    return false;
  }

  const Error& error() const { return x_error; }
  ConfigNode& root() { return x_root; }

 private:
  struct Key {
    std::string name;
    size_t line = 0;
  };

  size_t line_at(size_t offset) const {
    const auto begin = x_text.begin();
    return 1 + static_cast<size_t>(
                   std::count(begin, begin + static_cast<std::ptrdiff_t>(offset), '\n'));
  }

  // The parser reads one byte beyond a number; no token ends in a newline, so the last byte read
  // is left out.
  size_t line() const {
    const auto read = static_cast<size_t>(*x_furthest - x_text.data());
    return line_at(read == 0 ? 0 : read - 1);
  }

  bool fail(const std::string& sentence) {
    x_error = config_error(x_file, line(), sentence);
    return false;
  }

  void place(ConfigNode& node) {
    node.line = line();
    if (!x_keys.empty() && x_keys.back().line != 0) {
      node.key = std::move(x_keys.back().name);
      node.line = x_keys.back().line;
      x_keys.back() = {};
    }
  }

  bool value(ConfigNode node) {
    place(node);
    return adopt(std::move(node));
  }

  bool open(ConfigNode::Kind kind) {
    if (x_open.size() == kMaxDepth) return fail("nested too deep");
    ConfigNode node{.kind = kind};
    place(node);
    x_open.push_back(std::move(node));
    x_keys.emplace_back();
    return true;
  }

  bool close() {
    ConfigNode node = std::move(x_open.back());
    x_open.pop_back();
    x_keys.pop_back();
    return adopt(std::move(node));
  }

  bool adopt(ConfigNode node) {
    if (x_open.empty()) {
      x_root = std::move(node);
    } else {
      x_open.back().children.push_back(std::move(node));
    }
    return true;
  }

  const std::string_view x_text;
  const std::string& x_file;
  const char* const* x_furthest;
  std::vector<ConfigNode> x_open;  // objects and lists not yet closed, outermost first
  std::vector<Key> x_keys;         // of each: the key whose value comes next
  ConfigNode x_root;
  Error x_error;
};

}  // namespace

std::string ConfigNode::shown() const {
  switch (kind) {
    case Kind::kNull:
      return "null";
    case Kind::kFlag:
      return flag ? "true" : "false";
    case Kind::kNumber:
      return std::to_string(number);
    case Kind::kOtherNumber:
      return text;
    case Kind::kText:
      return "\"" + text.substr(0, kMaxShownBytes) + (text.size() > kMaxShownBytes ? "..." : "") +
             "\"";
    case Kind::kList:
      return "a list";
    case Kind::kObject:
      return "an object";
  }
  return "?";
}

Error config_error(const std::string& file, size_t line, std::string_view sentence) {
  std::string text = file + ":" + std::to_string(line) + ": " + std::string(sentence);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';  // one line, no terminal codes
  }
  return make_error(Errc::kInvalid, std::move(text));
}

Result<ConfigNode> parse_config_node(std::string_view text, const std::string& file) {
  const char* furthest = text.data();
  NodeBuilder builder(text, file, &furthest);
  const CountingIterator begin(text.data(), &furthest);
  const CountingIterator end(text.data() + text.size(), &furthest);
  if (!json::sax_parse(begin, end, &builder)) return builder.error();
  return std::move(builder.root());
}

}  // namespace dedup
