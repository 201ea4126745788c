#include "format/rfc3339.h"

#include <chrono>
#include <string>

namespace dedup {
namespace {

// Takes parts off the front of the text; remembers whether all of them were there.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : x_rest(text) {}

  // A number of exactly `digits` digits, at most `max`.
  int number(size_t digits, int max) {
    int value = 0;
    for (size_t i = 0; i < digits; ++i) {
      if (i >= x_rest.size() || x_rest[i] < '0' || x_rest[i] > '9') return fail();
      value = value * 10 + (x_rest[i] - '0');
    }
    x_rest.remove_prefix(digits);
    return value <= max ? value : fail();
  }
  void expect(char c) {
    if (!skip(c)) fail();
  }
  bool skip(char c) {
    if (!x_rest.starts_with(c)) return false;
    x_rest.remove_prefix(1);
    return true;
  }
  bool at_digit() const { return !x_rest.empty() && x_rest[0] >= '0' && x_rest[0] <= '9'; }
  bool finished() const { return x_good && x_rest.empty(); }

 private:
  int fail() {
    x_good = false;
    return 0;
  }
  std::string_view x_rest;
  bool x_good = true;
};

uint32_t fraction_nanoseconds(Cursor& cursor) {
  uint32_t value = 0;
  uint32_t unit = 100'000'000;
  do {
    value += static_cast<uint32_t>(cursor.number(1, 9)) * unit;
    unit /= 10;
  } while (cursor.at_digit());
  return value;
}

}  // namespace

Result<Timestamp> parse_rfc3339(std::string_view text) {
  if (text.empty()) return Timestamp{};
  Cursor cursor(text);
  const std::chrono::year year(cursor.number(4, 9999));
  cursor.expect('-');
  const std::chrono::month month(static_cast<unsigned>(cursor.number(2, 12)));
  cursor.expect('-');
  const std::chrono::day day(static_cast<unsigned>(cursor.number(2, 31)));
  cursor.expect('T');
  int64_t seconds = cursor.number(2, 23) * 3600;
  cursor.expect(':');
  seconds += cursor.number(2, 59) * 60;
  cursor.expect(':');
  seconds += cursor.number(2, 60);
  Timestamp time;
  if (cursor.skip('.')) time.nanoseconds = fraction_nanoseconds(cursor);
  if (!cursor.skip('Z')) {
    const bool west = cursor.skip('-');
    if (!west) cursor.expect('+');
    int64_t offset = cursor.number(2, 23) * 3600;
    cursor.expect(':');
    offset += cursor.number(2, 59) * 60;
    seconds -= west ? -offset : offset;
  }
  const std::chrono::year_month_day date(year, month, day);
  if (!cursor.finished() || !date.ok()) {
    return make_error(Errc::kInvalid,
                      "time \"" + std::string(text.substr(0, 64)) + "\" is not RFC 3339");
  }
  time.seconds = std::chrono::sys_days(date).time_since_epoch() / std::chrono::seconds(1) + seconds;
  return time;
}

}  // namespace dedup
