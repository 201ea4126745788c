#include <algorithm>
#include <optional>
#include <string>

#include "format/estargz.h"
#include "format/inflate.h"

namespace dedup {
namespace {

constexpr std::string_view kTocName = "stargz.index.json";
constexpr uint64_t kTarBlockBytes = 512;
constexpr uint64_t kTarEndBytes =
    64 << 10;  // end-of-archive zeros and record padding that may follow the TOC

Error bad_toc(std::string_view rule) {
  return make_error(Errc::kCorruption, "eStargz TOC: " + std::string(rule));
}

std::optional<uint64_t> octal(std::string_view field) {
  uint64_t value = 0;
  size_t i = 0;
  while (i < field.size() && field[i] == ' ') ++i;
  const size_t first = i;
  for (; i < field.size() && field[i] >= '0' && field[i] <= '7'; ++i)
    value = value * 8 + static_cast<uint64_t>(field[i] - '0');
  if (i == first || (i < field.size() && field[i] != '\0' && field[i] != ' ')) return std::nullopt;
  return value;
}

// Collects the one file of the TOC's tar stream.
class TocMember {
 public:
  explicit TocMember(uint64_t max_bytes) : x_max_bytes(max_bytes) {
    x_header.reserve(kTarBlockBytes);
  }

  Result<void> take(std::span<const std::byte> piece) {
    const size_t of_header = std::min<size_t>(kTarBlockBytes - x_header.size(), piece.size());
    x_header.insert(x_header.end(), piece.begin(),
                    piece.begin() + static_cast<ptrdiff_t>(of_header));
    piece = piece.subspan(of_header);
    if (x_header.size() == kTarBlockBytes && !x_toc_bytes) TRY(parse_header());
    if (!x_toc_bytes) return {};
    const auto of_toc =
        static_cast<ptrdiff_t>(std::min<uint64_t>(*x_toc_bytes - x_toc.size(), piece.size()));
    x_toc.insert(x_toc.end(), piece.begin(), piece.begin() + of_toc);
    return {};
  }

  Result<Bytes> finish() {
    if (!x_toc_bytes || x_toc.size() != *x_toc_bytes) return bad_toc("truncated");
    return std::move(x_toc);
  }

 private:
  Result<void> parse_header() {
    const std::string_view header = as_text(x_header);
    const std::string_view name = header.substr(0, 100);
    uint64_t sum = 8 * ' ';
    for (size_t i = 0; i < header.size(); ++i) {
      if (i < 148 || i >= 156) sum += static_cast<unsigned char>(header[i]);
    }
    if (octal(header.substr(148, 8)) != sum) return bad_toc("tar header has a wrong checksum");
    if (name.substr(0, name.find('\0')) != kTocName ||
        (header[156] != '0' && header[156] != '\0')) {
      return bad_toc("tar entry is not the file stargz.index.json");
    }
    const auto bytes = octal(header.substr(124, 12));
    if (!bytes) return bad_toc("tar header has a bad size");
    if (*bytes > x_max_bytes) {
      return make_error(Errc::kNoSpace, "eStargz TOC of " + std::to_string(*bytes) +
                                            " bytes is over the limit of " +
                                            std::to_string(x_max_bytes));
    }
    x_toc_bytes = *bytes;
    return {};
  }

  uint64_t x_max_bytes;
  Bytes x_header;
  std::optional<uint64_t> x_toc_bytes;  // known once the header is read
  Bytes x_toc;  // grows with what really arrives, not with what the header claims
};

}  // namespace

Result<Bytes> extract_estargz_toc(std::span<const std::byte> stored,
                                  const std::optional<Digest>& expected,
                                  const LayerLimits& limits) {
  Inflater inflater(Codec::kGzip, limits.max_toc_bytes + kTarBlockBytes + kTarEndBytes);
  TocMember member(limits.max_toc_bytes);
  auto fed =
      inflater.feed(stored, [&](std::span<const std::byte> piece) { return member.take(piece); });
  if (fed.ok()) fed = inflater.finish();
  if (!fed.ok()) return std::move(fed).error().with("eStargz TOC");
  TRY(toc, member.finish());
  if (expected) {
    const Digest found = sha256(toc);
    if (found != *expected) {
      return bad_toc("digest is " + found.to_string() + ", not " + expected->to_string());
    }
  }
  return toc;
}

}  // namespace dedup
