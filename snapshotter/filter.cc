#include "snapshotter/filter.h"

#include <algorithm>
#include <optional>

namespace dedup {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
bool is_field(char c) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}
bool is_quote(char c) {
  return c == '"' || c == '/' || c == '|';
}

std::string_view kind_name(SnapshotKind kind) {
  switch (kind) {
    case SnapshotKind::kView:
      return "view";
    case SnapshotKind::kActive:
      return "active";
    case SnapshotKind::kCommitted:
      return "committed";
  }
  return "";
}

std::string join_path(std::span<const std::string> path) {
  std::string joined;
  for (size_t i = 0; i < path.size(); ++i) {
    if (i > 0) joined += '.';
    joined += path[i];
  }
  return joined;
}

std::optional<std::string> field_of(const SnapshotInfo& info,
                                    const std::vector<std::string>& path) {
  if (path[0] == "name") return info.name;
  if (path[0] == "parent") return info.parent;
  if (path[0] == "kind") return std::string(kind_name(info.kind));
  if (path[0] == "labels") {
    const auto label = info.labels.find(join_path(std::span(path).subspan(1)));
    if (label != info.labels.end()) return label->second;
  }
  return std::nullopt;
}

std::optional<char> simple_escape(char c) {
  constexpr std::string_view kNames = "abfnrtv\\\"/|";
  constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\\"/|";
  const size_t at = kNames.find(c);
  if (at == std::string_view::npos) return std::nullopt;
  return kValues[at];
}

void append_utf8(std::string& text, uint32_t point) {
  const auto byte = [&text](uint32_t value) { text.push_back(static_cast<char>(value)); };
  if (point < 0x80) return byte(point);
  if (point < 0x800) {
    byte(0xc0 | point >> 6);
  } else {
    if (point < 0x10000) {
      byte(0xe0 | point >> 12);
    } else {
      byte(0xf0 | point >> 18);
      byte(0x80 | (point >> 12 & 0x3f));
    }
    byte(0x80 | (point >> 6 & 0x3f));
  }
  byte(0x80 | (point & 0x3f));
}

}  // namespace

// One pass over the text; every rule of the grammar is a method.
class FilterParser {
 public:
  explicit FilterParser(std::string_view text) : x_text(text) {}

  Result<SnapshotFilter> filter() {
    SnapshotFilter result;
    do {
      TRY(next, selector());
      result.x_selectors.push_back(std::move(next));
    } while (take(','));
    if (!at_end()) return error("unexpected input");
    return result;
  }

 private:
  Result<SnapshotFilter::Selector> selector() {
    SnapshotFilter::Selector result;
    do {
      TRY(name, field());
      result.path.push_back(std::move(name));
    } while (take('.'));
    if (at_end() || x_text[x_at] == ',') return result;
    TRY(op, parse_operator());
    result.op = op;
    TRY(text, value());
    result.value = std::move(text);
    return result;
  }

  Result<std::string> field() {
    if (at_end()) return error("expected a field");
    if (x_text[x_at] == '"') return quoted();
    const size_t begin = x_at;
    while (x_at < x_text.size() && is_field(x_text[x_at])) ++x_at;
    if (x_at == begin) return error("expected a field");
    return std::string(x_text.substr(begin, x_at - begin));
  }

  Result<SnapshotFilter::Operator> parse_operator() {
    const std::string_view text = x_text.substr(x_at, 2);
    x_at += text.size();
    if (text == "==") return SnapshotFilter::Operator::kEqual;
    if (text == "!=") return SnapshotFilter::Operator::kNotEqual;
    if (text == "~=") return SnapshotFilter::Operator::kRegex;
    x_at -= text.size();
    return error("expected one of == != ~=");
  }

  Result<std::string> value() {
    if (at_end()) return error("expected a value");
    if (is_quote(x_text[x_at])) return quoted();
    const size_t begin = x_at;
    while (x_at < x_text.size() && x_text[x_at] != ',' && !is_space(x_text[x_at])) ++x_at;
    if (x_at == begin) return error("expected a value");
    return std::string(x_text.substr(begin, x_at - begin));
  }

  Result<std::string> quoted() {
    const char quote = x_text[x_at++];
    std::string result;
    while (x_at < x_text.size()) {
      const char c = x_text[x_at++];
      if (c == quote) return result;
      if (c != '\\') {
        result.push_back(c);
        continue;
      }
      TRY(escape(result));
    }
    return error("quoted text does not end");
  }

  // After a backslash: one of Go's escapes.
  Result<void> escape(std::string& result) {
    if (x_at == x_text.size()) return error("quoted text does not end");
    const char c = x_text[x_at];
    if (const auto simple = simple_escape(c)) {
      result.push_back(*simple);
      ++x_at;
      return {};
    }
    if (c >= '0' && c <= '7') return digits(result, 3, 8, false);
    ++x_at;
    if (c == 'x') return digits(result, 2, 16, false);
    if (c == 'u') return digits(result, 4, 16, true);
    if (c == 'U') return digits(result, 8, 16, true);
    return error("unknown escape");
  }

  Result<void> digits(std::string& result, size_t count, uint32_t base, bool is_rune) {
    uint32_t number = 0;
    for (size_t i = 0; i < count; ++i, ++x_at) {
      const size_t digit = x_at < x_text.size()
                               ? std::string_view("0123456789abcdef").find(lower(x_text[x_at]))
                               : std::string_view::npos;
      if (digit >= base) return error("bad digit in an escape");
      number = number * base + static_cast<uint32_t>(digit);
    }
    if (number > (is_rune ? 0x10ffffU : 0xffU)) return error("escape out of range");
    if (is_rune)
      append_utf8(result, number);
    else
      result.push_back(static_cast<char>(number));
    return {};
  }

  static char lower(char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c; }

  bool at_end() {
    while (x_at < x_text.size() && is_space(x_text[x_at])) ++x_at;
    return x_at == x_text.size();
  }

  bool take(char c) {
    if (at_end() || x_text[x_at] != c) return false;
    ++x_at;
    return true;
  }

  Error error(std::string_view what) const {
    return make_error(Errc::kInvalid, "filter \"" + std::string(x_text.substr(0, 200)) +
                                          "\", byte " + std::to_string(x_at) + ": " +
                                          std::string(what));
  }

  std::string_view x_text;
  size_t x_at = 0;
};

Result<SnapshotFilter> SnapshotFilter::parse(std::string_view text) {
  if (text.empty()) return SnapshotFilter();
  return FilterParser(text).filter();
}

bool SnapshotFilter::Selector::matches(const SnapshotInfo& info) const {
  const auto field = field_of(info, path);
  switch (op) {
    case Operator::kPresent:
    case Operator::kRegex:
      return field.has_value();
    case Operator::kEqual:
      return field == value;
    case Operator::kNotEqual:
      return field.value_or("") != value;
  }
  return true;
}

bool SnapshotFilter::matches(const SnapshotInfo& info) const {
  return std::all_of(x_selectors.begin(), x_selectors.end(),
                     [&info](const Selector& selector) { return selector.matches(info); });
}

bool matches_any(std::span<const SnapshotFilter> filters, const SnapshotInfo& info) {
  return filters.empty() ||
         std::any_of(filters.begin(), filters.end(),
                     [&info](const SnapshotFilter& filter) { return filter.matches(info); });
}

}  // namespace dedup
