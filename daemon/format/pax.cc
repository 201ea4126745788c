#include "format/pax.h"

#include <algorithm>
#include <charconv>

#include "base/bytes.h"
#include "format/layer_path.h"

namespace dedup {

namespace {

constexpr std::string_view kXattrPrefix = "SCHILY.xattr.";
constexpr std::string_view kSparsePrefix = "GNU.sparse.";

Error bad_record(std::string_view key) {
  return make_error(Errc::kCorruption, "pax header: bad value of " + printable_path(key));
}

Result<void> set_number(std::optional<uint64_t>& field, std::string_view key,
                        std::string_view value) {
  field = parse_decimal(value);
  if (!field && !value.empty()) return bad_record(key);
  return {};
}

Result<void> set_text(std::optional<std::string>& field, std::string_view key,
                      std::string_view value) {
  if (value.find('\0') != std::string_view::npos) return bad_record(key);
  field.reset();
  if (!value.empty()) field = std::string(value);
  return {};
}

// "-12.345". Digits past nine are dropped, as in Go.
Result<void> set_time(std::optional<PaxTime>& field, std::string_view key, std::string_view value) {
  field.reset();
  if (value.empty()) return {};
  const bool negative = value.starts_with('-');
  if (negative) value.remove_prefix(1);
  const size_t dot = std::min(value.find('.'), value.size());
  const auto whole = parse_decimal(value.substr(0, dot));
  if (!whole) return bad_record(key);
  std::string digits(dot < value.size() ? value.substr(dot + 1) : "");
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (!std::all_of(digits.begin(), digits.end(), is_digit)) return bad_record(key);
  digits.resize(9, '0');
  PaxTime time{static_cast<int64_t>(*whole), 0};
  std::from_chars(digits.data(), digits.data() + digits.size(), time.nanoseconds);
  if (negative) {
    time.seconds = -time.seconds - (time.nanoseconds != 0 ? 1 : 0);
    time.nanoseconds = time.nanoseconds == 0 ? 0 : 1'000'000'000 - time.nanoseconds;
  }
  field = time;
  return {};
}

// Version 0.1: "offset,length,offset,length".
Result<void> set_sparse_map(PaxSparse& sparse, std::string_view key, std::string_view value) {
  sparse.ranges.clear();
  sparse.has_ranges = true;
  uint64_t offset = 0;
  bool has_offset = false;
  while (!value.empty()) {
    const size_t comma = std::min(value.find(','), value.size());
    const auto number = parse_decimal(value.substr(0, comma));
    value.remove_prefix(std::min(comma + 1, value.size()));
    if (!number) return bad_record(key);
    if (has_offset) sparse.ranges.push_back({offset, *number});
    offset = *number;
    has_offset = !has_offset;
  }
  if (has_offset) return bad_record(key);
  return {};
}

Result<void> apply_sparse(PaxSparse& sparse, std::string_view key, std::string_view value) {
  const std::string_view field = key.substr(kSparsePrefix.size());
  if (field == "major") return set_text(sparse.major, key, value);
  if (field == "minor") return set_text(sparse.minor, key, value);
  if (field == "name") return set_text(sparse.name, key, value);
  if (field == "size") return set_number(sparse.size, key, value);
  if (field == "realsize") return set_number(sparse.real_size, key, value);
  if (field == "numblocks") return set_number(sparse.range_count, key, value);
  if (field == "map") return set_sparse_map(sparse, key, value);
  if (field == "offset") {
    if (sparse.pending_offset) return bad_record(key);
    return set_number(sparse.pending_offset, key, value);
  }
  if (field == "numbytes") {
    const auto bytes = parse_decimal(value);
    if (!bytes || !sparse.pending_offset) return bad_record(key);
    sparse.ranges.push_back({*sparse.pending_offset, *bytes});
    sparse.has_ranges = true;
    sparse.pending_offset.reset();
  }
  return {};
}

Result<void> apply(PaxRecords& records, std::string_view key, std::string_view value) {
  if (key == "path") return set_text(records.path, key, value);
  if (key == "linkpath") return set_text(records.link_path, key, value);
  if (key == "size") return set_number(records.size, key, value);
  if (key == "uid") return set_number(records.uid, key, value);
  if (key == "gid") return set_number(records.gid, key, value);
  if (key == "mtime") return set_time(records.mtime, key, value);
  if (key == "SCHILY.devmajor") return set_number(records.rdev_major, key, value);
  if (key == "SCHILY.devminor") return set_number(records.rdev_minor, key, value);
  if (key.starts_with(kSparsePrefix)) return apply_sparse(records.sparse, key, value);
  if (key.starts_with(kXattrPrefix)) {
    records.xattrs.push_back({std::string(key.substr(kXattrPrefix.size())), std::string(value)});
  }
  return {};
}

}  // namespace

Result<PaxSparse::Kind> PaxSparse::kind() const {
  const bool versioned = major || minor;
  if (!versioned && !has_ranges) return Kind::kNone;
  const bool in_data = major == "1" && minor == "0";
  const bool in_records = !versioned || (major == "0" && (minor == "0" || minor == "1"));
  if (!in_data && !in_records) {
    return make_error(Errc::kUnsupported, "GNU sparse file of an unknown version");
  }
  if (!file_bytes()) return make_error(Errc::kCorruption, "sparse file without its real size");
  if (in_data) return Kind::kMapInData;
  if (pending_offset || range_count.value_or(ranges.size()) != ranges.size()) {
    return make_error(Errc::kCorruption, "sparse map has not the number of ranges it says");
  }
  return Kind::kRanges;
}

std::optional<uint64_t> parse_decimal(std::string_view text) {
  if (text.empty() || text.front() == '-') return std::nullopt;
  int64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return static_cast<uint64_t>(value);
}

Result<PaxRecords> parse_pax(std::span<const std::byte> body) {
  PaxRecords records;
  std::string_view text = as_text(body);
  while (!text.empty()) {
    const size_t space = std::min(text.find(' '), text.size());
    const auto length = parse_decimal(text.substr(0, space));
    // The shortest record behind its length is " k=\n".
    if (!length || *length > text.size() || *length < space + 4 || text[*length - 1] != '\n') {
      return make_error(Errc::kCorruption, "pax header: a record's length is wrong");
    }
    const std::string_view record = text.substr(space + 1, *length - space - 2);
    const size_t equals = record.find('=');
    const std::string_view key = record.substr(0, equals);
    if (equals == std::string_view::npos || key.empty() || key.find('\0') != key.npos) {
      return make_error(Errc::kCorruption, "pax header: a record has no valid key");
    }
    TRY(apply(records, key, record.substr(equals + 1)));
    text.remove_prefix(*length);
  }
  return records;
}

}  // namespace dedup
