#include "trace/profile_file.h"

#include <zstd.h>

#include <memory>

#include "trace/profile_lines.h"

namespace dedup {
namespace {

constexpr int kLevel = 9;
constexpr int kMaxWindowLog = 23;  // 8 MiB of memory

// Lines of the text, each of which must be ended.
class Lines {
 public:
  Lines(std::string_view text, const ProfileLimits& limits) : x_rest(text), x_limits(limits) {}

  bool done() const { return x_rest.empty(); }
  Error at_line(Error error) const {
    return std::move(error).with("line " + std::to_string(x_number));
  }
  Result<std::string_view> next() {
    ++x_number;
    const size_t end = x_rest.find('\n');
    if (end == std::string_view::npos)
      return at_line(make_error(Errc::kCorruption, "the profile is cut off"));
    if (end > x_limits.max_line_bytes)
      return at_line(make_error(Errc::kNoSpace, "the line is too long"));
    const std::string_view line = x_rest.substr(0, end);
    x_rest.remove_prefix(end + 1);
    return line;
  }

 private:
  std::string_view x_rest;
  const ProfileLimits& x_limits;
  uint64_t x_number = 0;
};

using ZstdContext = std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)>;

Result<std::string> decompress(std::span<const std::byte> file, const ProfileLimits& limits) {
  const ZstdContext context(ZSTD_createDCtx(), &ZSTD_freeDCtx);
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
  ZSTD_inBuffer in{file.data(), file.size(), 0};
  std::string text;
  std::string piece(ZSTD_DStreamOutSize(), '\0');
  for (size_t left = 1; left != 0;) {
    ZSTD_outBuffer out{piece.data(), piece.size(), 0};
    left = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(left))
      return make_error(Errc::kCorruption,
                        std::string("not a profile: zstd: ") + ZSTD_getErrorName(left));
    text.append(piece, 0, out.pos);
    if (text.size() > limits.max_text_bytes) return profile_over("bytes", limits.max_text_bytes);
    if (left != 0 && out.pos < out.size && in.pos == in.size)
      return make_error(Errc::kCorruption, "the profile is cut off");
  }
  if (in.pos != in.size) return make_error(Errc::kInvalid, "bytes behind the profile");
  return text;
}

}  // namespace

Result<Profile> parse_profile_text(std::string_view text, const ProfileLimits& limits) {
  Lines lines(text, limits);
  TRY(first, lines.next());
  auto header = parse_header_line(first, limits);
  if (!header.ok()) return lines.at_line(std::move(header).error());
  Profile profile = std::move(header->profile);
  uint64_t last_us = 0;
  while (profile.entries.size() < header->entries) {
    TRY(line, lines.next());
    auto entry = parse_entry_line(line);
    if (!entry.ok()) return lines.at_line(std::move(entry).error());
    auto checked = check_entry(profile, *entry, last_us, limits);
    if (!checked.ok()) return lines.at_line(std::move(checked).error());
    last_us = entry->first_us;
    profile.entries.push_back(std::move(*entry));
  }
  last_us = 0;
  while (profile.fetches.size() < header->fetches) {
    TRY(line, lines.next());
    auto fetch = parse_fetch_line(line);
    if (!fetch.ok()) return lines.at_line(std::move(fetch).error());
    auto checked = check_fetch(profile, *fetch, last_us, limits);
    if (!checked.ok()) return lines.at_line(std::move(checked).error());
    last_us = fetch->us;
    profile.fetches.push_back(std::move(*fetch));
  }
  if (!lines.done())
    return make_error(Errc::kInvalid, "more lines than \"entries\" and \"fetches\" say");
  return profile;
}

Result<Profile> read_profile(std::span<const std::byte> file, const ProfileLimits& limits) {
  if (file.size() > limits.max_file_bytes) return profile_over("bytes", limits.max_file_bytes);
  TRY(text, decompress(file, limits));
  return parse_profile_text(text, limits);
}

Result<std::string> profile_text(const Profile& profile, const ProfileLimits& limits) {
  TRY(check_header(profile, limits));
  std::string text = header_line(profile);
  if (text.size() > limits.max_line_bytes)
    return make_error(Errc::kNoSpace, "the first line is too long");
  uint64_t last_us = 0;
  for (const ProfileEntry& entry : profile.entries) {
    auto checked = check_entry(profile, entry, last_us, limits);
    if (!checked.ok()) return std::move(checked).error().with(entry.path);
    last_us = entry.first_us;
    text += entry_line(entry);
  }
  last_us = 0;
  for (const ProfileFetch& fetch : profile.fetches) {
    auto checked = check_fetch(profile, fetch, last_us, limits);
    if (!checked.ok()) return std::move(checked).error().with(fetch.path);
    last_us = fetch.us;
    text += fetch_line(fetch);
  }
  if (text.size() > limits.max_text_bytes) return profile_over("bytes", limits.max_text_bytes);
  return text;
}

Result<Bytes> write_profile(const Profile& profile, const ProfileLimits& limits) {
  TRY(text, profile_text(profile, limits));
  Bytes file(ZSTD_compressBound(text.size()));
  const size_t bytes = ZSTD_compress(file.data(), file.size(), text.data(), text.size(), kLevel);
  if (ZSTD_isError(bytes)) return make_error(Errc::kInvalid, ZSTD_getErrorName(bytes));
  file.resize(bytes);
  if (bytes > limits.max_file_bytes) return profile_over("bytes", limits.max_file_bytes);
  return file;
}

}  // namespace dedup
