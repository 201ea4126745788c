#include "format/estargz_json.h"

#include <array>
#include <nlohmann/json.hpp>

#include "base/bytes.h"

namespace dedup {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxDepth = 32;  // a TOC needs 4: object, entries, entry, xattrs

struct TextField {
  std::string_view key;
  std::string TocEntry::*value;
};
constexpr TextField kTextFields[] = {
    {"name", &TocEntry::name},          {"type", &TocEntry::type},
    {"linkName", &TocEntry::link_name}, {"modtime", &TocEntry::modtime},
    {"digest", &TocEntry::digest},      {"chunkDigest", &TocEntry::chunk_digest},
};

struct NumberField {
  std::string_view key;
  uint64_t TocEntry::*value;
};
constexpr NumberField kNumberFields[] = {
    {"size", &TocEntry::size},
    {"mode", &TocEntry::mode},
    {"uid", &TocEntry::uid},
    {"gid", &TocEntry::gid},
    {"devMajor", &TocEntry::dev_major},
    {"devMinor", &TocEntry::dev_minor},
    {"innerOffset", &TocEntry::inner_offset},
    {"chunkOffset", &TocEntry::chunk_offset},
    {"chunkSize", &TocEntry::chunk_size},
};

int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

// RFC 4648 section 4, padded.
std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  text.remove_suffix(padding);
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  int bit_count = 0;
  for (const char c : text) {
    const int value = base64_value(c);
    if (value < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(value);
    bit_count += 6;
    if (bit_count >= 8) {
      bit_count -= 8;
      bytes.push_back(static_cast<char>(bits >> bit_count & 0xFF));
    }
  }
  return bytes;
}

// Where the parser stands. Depth counts open objects and arrays: 1 the document, 2 "entries", 3 an
// entry, 4 its xattrs.
class TocSax final : public nlohmann::json_sax<Json> {
 public:
  explicit TocSax(const TocEntrySink& sink) : x_sink(sink) {}

  Result<void> result() && {
    if (x_error) return std::move(*x_error);
    if (!x_saw_version) return make_error(Errc::kInvalid, "eStargz TOC: no version");
    if (!x_saw_entries) return make_error(Errc::kInvalid, "eStargz TOC: no entries");
    return {};
  }

  bool null() override { return true; }  // as if the key were absent
  bool boolean(bool) override { return other_kind(); }
  bool number_integer(Json::number_integer_t number) override {
    return number >= 0 ? number_unsigned(static_cast<uint64_t>(number)) : bad_number("negative");
  }
  bool number_float(Json::number_float_t, const std::string&) override {
    return bad_number("fractional or too large");
  }
  bool binary(Json::binary_t&) override { return other_kind(); }

  bool number_unsigned(Json::number_unsigned_t number) override {
    if (in_entry()) {
      if (x_number != nullptr) x_entry.*x_number = number;
      if (x_key == "offset") x_entry.offset = number;
      return x_text == nullptr && x_key != "xattrs" ? true : other_kind();
    }
    if (x_depth == 1 && x_key == "version") {
      x_saw_version = true;
      return number == 1 ||
             fail(Errc::kUnsupported, "version " + std::to_string(number) + " is not 1");
    }
    return other_kind();
  }

  bool string(std::string& text) override {
    if (in_entry()) {
      if (x_text != nullptr) x_entry.*x_text = std::move(text);
      return x_text != nullptr || other_kind();
    }
    if (in_xattrs()) {
      auto value = decode_base64(text);
      if (!value) return fail(Errc::kInvalid, "xattr " + x_key + " is not base64");
      x_entry.xattrs.push_back({x_key, std::move(*value)});
      return true;
    }
    return other_kind();
  }

  bool key(std::string& name) override {
    x_key = std::move(name);
    if (x_depth != 3 || in_skipped()) return true;
    x_text = nullptr;
    x_number = nullptr;
    for (const TextField& field : kTextFields) {
      if (field.key == x_key) x_text = field.value;
    }
    for (const NumberField& field : kNumberFields) {
      if (field.key == x_key) x_number = field.value;
    }
    return true;
  }

  bool start_object(size_t) override {
    if (x_skipped_from == 0 && x_depth == 2) {
      x_entry = TocEntry();
      ++x_entry_count;
    } else if (x_depth != 0 && !(in_entry() && x_key == "xattrs") && !skip()) {
      return false;
    }
    return open();
  }

  bool start_array(size_t) override {
    if (x_skipped_from == 0 && x_depth == 1 && x_key == "entries" && !x_saw_entries) {
      x_saw_entries = true;
    } else if (!skip()) {
      return false;
    }
    return open();
  }

  bool end_object() override {
    close();
    if (x_skipped_from != 0 || x_depth != 2) return true;
    auto taken = x_sink(x_entry);
    if (taken.ok()) return true;
    x_error = std::move(taken).error();
    return false;
  }
  bool end_array() override {
    close();
    return true;
  }

  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    if (!x_error)
      x_error = make_error(Errc::kCorruption,
                           "eStargz TOC: not JSON at byte " + std::to_string(position));
    return false;
  }

 private:
  bool in_entry() const { return x_depth == 3 && x_skipped_from == 0; }
  bool in_xattrs() const { return x_depth == 4 && x_skipped_from == 0; }
  bool in_skipped() const { return x_skipped_from != 0; }

  std::string place() const {
    return x_entry_count == 0 ? "eStargz TOC"
                              : "eStargz TOC entry " + std::to_string(x_entry_count - 1);
  }
  bool fail(Errc code, const std::string& rule) {
    x_error = make_error(code, place() + ": " + rule);
    return false;
  }
  // A value of a kind that its place does not take. Fine where nothing is expected.
  bool other_kind() {
    if (in_skipped()) return true;
    const bool unknown_field = x_depth == 3 && x_text == nullptr && x_number == nullptr &&
                               x_key != "offset" && x_key != "xattrs";
    const bool unknown_top = x_depth == 1 && x_key != "version" && x_key != "entries";
    if (unknown_field || unknown_top) return true;
    return fail(Errc::kInvalid, x_depth == 2 ? "an entry is not an object"
                                             : "\"" + x_key + "\" is of the wrong kind");
  }
  bool bad_number(const std::string& what) {
    const bool wanted =
        in_entry() ? x_number != nullptr || x_key == "offset" : x_depth == 1 && x_key == "version";
    return wanted ? fail(Errc::kInvalid, "\"" + x_key + "\" is " + what) : other_kind();
  }
  // The object or array that starts here is of no interest, unless its place demands something
  // else.
  bool skip() {
    if (in_skipped()) return true;
    if (!other_kind()) return false;
    x_skipped_from = x_depth + 1;
    return true;
  }
  bool open() {
    ++x_depth;
    return x_depth <= kMaxDepth ||
           fail(Errc::kInvalid, "JSON nested deeper than " + std::to_string(kMaxDepth));
  }
  void close() {
    if (x_depth == x_skipped_from) x_skipped_from = 0;
    --x_depth;
  }

  const TocEntrySink& x_sink;
  std::optional<Error> x_error;
  TocEntry x_entry;
  std::string x_key;
  std::string TocEntry::*x_text = nullptr;  // where the value of x_key goes, if it is text
  uint64_t TocEntry::*x_number = nullptr;   // or a number
  size_t x_depth = 0;
  size_t x_skipped_from = 0;  // depth of the outermost object or array being skipped; 0: none
  uint64_t x_entry_count = 0;
  bool x_saw_version = false;
  bool x_saw_entries = false;
};

}  // namespace

Result<void> read_toc_json(std::span<const std::byte> json, const TocEntrySink& sink) {
  TocSax sax(sink);
  const std::string_view text = as_text(json);
  Json::sax_parse(text.begin(), text.end(), &sax);
  return std::move(sax).result();
}

}  // namespace dedup
