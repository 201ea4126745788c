#include "source/reference.h"

#include <algorithm>

namespace dedup {
namespace {

constexpr std::string_view kOciPrefix = "oci:";
constexpr std::string_view kDefaultHost = "docker.io";
constexpr size_t kMaxNameBytes = 255;
constexpr size_t kMaxTagBytes = 128;

bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_alnum(char c) {
  return is_lower(c) || is_upper(c) || is_digit(c);
}
bool is_lower_alnum(char c) {
  return is_lower(c) || is_digit(c);
}

Error bad(std::string_view text, std::string_view rule) {
  std::string shown;
  for (const char c : text.substr(0, 300)) shown += c >= 0x20 && c < 0x7f ? c : '?';
  return make_error(Errc::kInvalid, "image reference \"" + shown + "\": " + std::string(rule));
}

// port = ":" 1*5 digits
bool is_port(std::string_view text) {
  return text.empty() || (text.size() >= 2 && text.size() <= 6 && text[0] == ':' &&
                          std::all_of(text.begin() + 1, text.end(), is_digit));
}

// domain-name = label *("." label); label = alphanumerics with inner hyphens
bool is_domain(std::string_view text) {
  while (true) {
    const size_t dot = std::min(text.find('.'), text.size());
    const std::string_view label = text.substr(0, dot);
    if (label.empty() || !is_alnum(label.front()) || !is_alnum(label.back())) return false;
    if (!std::all_of(label.begin(), label.end(), [](char c) { return is_alnum(c) || c == '-'; })) {
      return false;
    }
    if (dot == text.size()) return true;
    text.remove_prefix(dot + 1);
  }
}

bool is_host(std::string_view text) {
  if (text.starts_with('[')) {
    const size_t close = text.find(']');
    if (close == text.npos || close < 3) return false;
    const auto address = text.substr(1, close - 1);
    return std::all_of(address.begin(), address.end(),
                       [](char c) {
                         return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') ||
                                c == ':';
                       }) &&
           is_port(text.substr(close + 1));
  }
  const size_t colon = std::min(text.find(':'), text.size());
  return is_domain(text.substr(0, colon)) && is_port(text.substr(colon));
}

// component = alphanumerics joined by ".", "_", "__" or hyphens
bool is_path_component(std::string_view text) {
  if (text.empty() || !is_lower_alnum(text.front()) || !is_lower_alnum(text.back())) return false;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    while (end < text.size() && !is_lower_alnum(text[end])) ++end;
    const std::string_view separator = text.substr(at, end - at);
    const bool hyphens = separator.find_first_not_of('-') == separator.npos;
    if (!hyphens && separator != "." && separator != "_" && separator != "__") return false;
    at = end + 1;
  }
  return true;
}

bool is_repository(std::string_view text) {
  while (true) {
    const size_t slash = std::min(text.find('/'), text.size());
    if (!is_path_component(text.substr(0, slash))) return false;
    if (slash == text.size()) return true;
    text.remove_prefix(slash + 1);
  }
}

bool is_tag(std::string_view text) {
  const auto word = [](char c) { return is_alnum(c) || c == '_'; };
  return !text.empty() && text.size() <= kMaxTagBytes && word(text.front()) &&
         std::all_of(text.begin(), text.end(),
                     [&](char c) { return word(c) || c == '.' || c == '-'; });
}

bool has_control_character(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

// The colon before a layout's tag, npos when the text ends in a directory name.
size_t tag_colon(std::string_view layout) {
  const size_t colon = layout.rfind(':');
  if (colon == layout.npos || layout.find('/', colon) != layout.npos) return layout.npos;
  return colon;
}

Result<Reference> parse_layout(std::string_view text, std::string_view rest,
                               std::optional<Digest> digest) {
  Reference reference;
  reference.kind = Reference::Kind::kOciLayout;
  reference.digest = digest;
  const size_t colon = tag_colon(rest);
  reference.repository = rest.substr(0, colon);
  if (colon != rest.npos) reference.tag = rest.substr(colon + 1);
  if (reference.repository.empty()) return bad(text, "no directory after \"oci:\"");
  if (has_control_character(rest)) return bad(text, "control characters are not allowed");
  return reference;
}

}  // namespace

Result<Reference> Reference::parse(std::string_view text) {
  std::string_view rest = text;
  std::optional<Digest> digest;
  const bool layout = rest.starts_with(kOciPrefix);
  const size_t at = rest.rfind('@');
  if (at != rest.npos && (!layout || rest.substr(at + 1).starts_with("sha256:"))) {
    auto parsed = Digest::parse(rest.substr(at + 1));
    if (!parsed.ok()) return bad(text, parsed.error().context);
    digest = *parsed;
    rest = rest.substr(0, at);
  }
  if (layout) return parse_layout(text, rest.substr(kOciPrefix.size()), digest);

  Reference reference;
  reference.digest = digest;
  const size_t colon = tag_colon(rest);
  if (colon != rest.npos) {
    reference.tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (!is_tag(reference.tag)) {
      return bad(text, "a tag is 1 to 128 letters, digits, \"_\", \".\", \"-\"");
    }
  } else if (!digest) {
    reference.tag = "latest";
  }
  // The first component is a host when it could not be a repository's: a dot, a port, capitals.
  const size_t slash = rest.find('/');
  const std::string_view first = rest.substr(0, slash);
  const bool named =
      slash != rest.npos && (first.find_first_of(".:[") != first.npos || first == "localhost" ||
                             std::any_of(first.begin(), first.end(), is_upper));
  reference.host = named ? first : kDefaultHost;
  reference.repository = named ? rest.substr(slash + 1) : rest;
  if (reference.host == "index.docker.io") reference.host = kDefaultHost;
  if (!is_host(reference.host)) return bad(text, "the host is not a domain name with a port");
  if (!is_repository(reference.repository)) {
    return bad(text,
               "a repository is lower-case letters and digits, joined by \".\", \"_\", \"-\"");
  }
  if (reference.host == kDefaultHost && reference.repository.find('/') == std::string::npos) {
    reference.repository.insert(0, "library/");
  }
  if (reference.host.size() + 1 + reference.repository.size() > kMaxNameBytes) {
    return bad(text, "the name is longer than 255 bytes");
  }
  return reference;
}

std::string Reference::to_string() const {
  std::string text = location();
  // A directory that would read as DIRECTORY:TAG is told from one by a closing colon.
  const bool ambiguous =
      kind == Kind::kOciLayout && tag_colon(repository) != std::string_view::npos;
  if (!tag.empty() || ambiguous) text.append(":").append(tag);
  if (digest) text.append("@").append(digest->to_string());
  return text;
}

std::string Reference::location() const {
  if (kind == Kind::kOciLayout) return std::string(kOciPrefix) + repository;
  return host + "/" + repository;
}

}  // namespace dedup
