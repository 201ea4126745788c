#include "cli/html.h"

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <cstdio>

namespace dedup {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Character {
  uint32_t code = 0xFFFD;
  size_t bytes = 1;
};

// The first character of `text`; U+FFFD and one byte when it is none (RFC 3629).
Character next_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return {};
  uint32_t code = lead & (0x7Fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3F);
  }
  constexpr std::array<uint32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kLeast[bytes] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return {};
  return {code, bytes};
}

bool is_harmless(uint32_t code) {
  if (code < 0x20 || (code >= 0x7F && code < 0xA0)) return false;  // control characters
  if (code == 0x061C || code == 0x200E || code == 0x200F) return false;
  if (code >= 0x2028 && code <= 0x202E) return false;  // lines, directions
  if (code >= 0x2066 && code <= 0x2069) return false;
  return (code & 0xFFFE) != 0xFFFE && !(code >= 0xFDD0 && code <= 0xFDEF);  // no characters
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string escaped;
  while (!text.empty()) {
    const Character character = next_character(text);
    switch (character.code) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += is_harmless(character.code) && character.code != 0xFFFD
                       ? text.substr(0, character.bytes)
                       : kReplacement;
    }
    text.remove_prefix(character.bytes);
  }
  return escaped;
}

std::string script_hash(std::string_view script) {
  std::array<unsigned char, 32> digest{};
  unsigned int digest_bytes = 0;
  EVP_Digest(script.data(), script.size(), digest.data(), &digest_bytes, EVP_sha256(), nullptr);
  std::array<unsigned char, 45> text{};
  const int text_bytes =
      EVP_EncodeBlock(text.data(), digest.data(), static_cast<int>(digest.size()));
  return "sha256-" + std::string(text.begin(), text.begin() + text_bytes);
}

std::string path_element(std::string_view kind, std::string_view d) {
  if (d.empty()) return "";
  return "<path class=\"" + std::string(kind) + "\" d=\"" + std::string(d) + "\"/>\n";
}

std::string decimal(double number, int decimals) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", decimals, number);
  std::string result = text.data();
  while (result.back() == '0') result.pop_back();
  if (result.back() == '.') result.pop_back();
  return result == "-0" ? "0" : result;
}

}  // namespace dedup
