#include "base/digest.h"

#include <openssl/evp.h>

namespace dedup {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

Result<Digest> Digest::parse(std::string_view text) {
  constexpr std::string_view kPrefix = "sha256:";
  if (!text.starts_with(kPrefix)) {
    const auto code = text.starts_with("sha512:") ? Errc::kUnsupported : Errc::kInvalid;
    return make_error(code, "digest \"" + std::string(text.substr(0, 80)) + "\" is not sha256:HEX");
  }
  text.remove_prefix(kPrefix.size());
  Digest digest;
  if (text.size() != 64) return make_error(Errc::kInvalid, "sha256 digest has not 64 hex digits");
  for (size_t i = 0; i < 32; ++i) {
    const int high = hex_value(text[2 * i]);
    const int low = hex_value(text[2 * i + 1]);
    if (high < 0 || low < 0)
      return make_error(Errc::kInvalid, "sha256 digest has a character that is not lower-case hex");
    digest.bytes[i] = static_cast<std::byte>(high * 16 + low);
  }
  return digest;
}

std::string Digest::hex() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(64);
  for (const std::byte b : bytes) {
    text.push_back(kDigits[std::to_integer<unsigned>(b) >> 4]);
    text.push_back(kDigits[std::to_integer<unsigned>(b) & 15]);
  }
  return text;
}

std::string Digest::to_string() const {
  return "sha256:" + hex();
}

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(evp); }
};

Sha256::Sha256() : x_context(std::make_unique<Context>()) {
  EVP_DigestInit_ex(x_context->evp, EVP_sha256(), nullptr);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  EVP_DigestUpdate(x_context->evp, bytes.data(), bytes.size());
}

Digest Sha256::finish() {
  Digest digest;
  EVP_DigestFinal_ex(x_context->evp, reinterpret_cast<unsigned char*>(digest.bytes.data()),
                     nullptr);
  EVP_DigestInit_ex(x_context->evp, EVP_sha256(), nullptr);
  return digest;
}

Digest sha256(std::span<const std::byte> bytes) {
  Digest digest;
  EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.bytes.data()),
             nullptr, EVP_sha256(), nullptr);
  return digest;
}

}  // namespace dedup
