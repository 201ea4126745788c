#include <array>
#include <charconv>
#include <string>

#include "format/estargz.h"

namespace dedup {
namespace {

// The footer is an empty gzip member: a header whose extra field holds the text, an empty final
// stored block, crc 0, size 0. mtime, flags of the compressor and operating system are whatever the
// writer's gzip library put there.
struct FooterForm {
  uint64_t bytes;
  size_t text_at;  // of the extra text, from the footer's start
  size_t text_bytes;
  std::string_view extra;  // length of the extra field and, where there is one, the subfield header
  std::string_view magic;  // end of the text; before it 16 hex digits of the TOC offset
};

using namespace std::string_view_literals;
constexpr FooterForm kCurrent{51, 16, 22, "\x1a\0SG\x16\0"sv, "STARGZ"};
constexpr FooterForm kLegacy{47, 12, 22, "\x16\0"sv, "STARGZ"};
constexpr FooterForm kExternal{46, 16, 17, "\x15\0SG\x11\0"sv, "STARGZEXTERNALTOC"};

// The extra text when `tail` ends with a footer of this form, else empty.
std::string_view footer_text(std::span<const std::byte> tail, const FooterForm& form) {
  constexpr std::string_view kGzipStart = "\x1f\x8b\x08\x04"sv;
  constexpr std::string_view kEmptyEnd = "\x01\0\0\xff\xff\0\0\0\0\0\0\0\0"sv;
  if (tail.size() < form.bytes) return {};
  const std::string_view footer = as_text(tail.last(form.bytes));
  const std::string_view text = footer.substr(form.text_at, form.text_bytes);
  if (!footer.starts_with(kGzipStart) || footer.substr(10, form.extra.size()) != form.extra ||
      !text.ends_with(form.magic) || footer.substr(form.text_at + form.text_bytes) != kEmptyEnd) {
    return {};
  }
  return text;
}

}  // namespace

Result<std::optional<EstargzFooter>> parse_estargz_footer(std::span<const std::byte> tail,
                                                          uint64_t blob_bytes) {
  if (!footer_text(tail, kExternal).empty()) {
    return make_error(Errc::kUnsupported, "eStargz layer keeps its TOC in another image");
  }
  for (const FooterForm& form : {kCurrent, kLegacy}) {
    const std::string_view text = footer_text(tail, form);
    if (text.empty()) continue;
    uint64_t toc_offset = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + 16, toc_offset, 16);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + 16) {
      return make_error(Errc::kCorruption, "eStargz footer: TOC offset is not 16 hex digits");
    }
    if (blob_bytes < form.bytes || toc_offset >= blob_bytes - form.bytes) {
      return make_error(Errc::kCorruption,
                        "eStargz footer: TOC offset " + std::to_string(toc_offset) +
                            " lies outside the blob of " + std::to_string(blob_bytes) + " bytes");
    }
    return std::optional(EstargzFooter{toc_offset, form.bytes});
  }
  return std::optional<EstargzFooter>();
}

}  // namespace dedup
