#include "cli/time_axis.h"

#include <algorithm>

#include "cli/html.h"
#include "cli/report.h"

namespace dedup {
namespace {

constexpr double kPauseWidth = 22;
constexpr double kLeastWidth = 6;  // of what lies between two pauses
constexpr size_t kMaxPauses = 8;
constexpr size_t kMomentsPerPause = 12;  // where little happens, pauses are the rule
constexpr double kTickDistance = 60;
constexpr uint64_t kTicks = 9;

struct Gap {
  uint64_t begin_us = 0;
  uint64_t end_us = 0;
  uint64_t length() const { return end_us - begin_us; }
};

// As many of the longest gaps as are each longer than what is left of the time without them. In the
// order of time.
std::vector<Gap> long_gaps(const std::vector<uint64_t>& events) {
  std::vector<Gap> gaps;
  for (size_t i = 1; i < events.size(); ++i) {
    if (events[i] - events[i - 1] >= 1000) gaps.push_back({events[i - 1], events[i]});
  }
  size_t count = std::min(kMaxPauses, gaps.size() / kMomentsPerPause);
  std::ranges::sort(gaps, std::greater<>(), &Gap::length);
  uint64_t left_us = events.back();
  for (size_t i = 0; i < count; ++i) left_us -= gaps[i].length();
  while (count > 0 && gaps[count - 1].length() < left_us) left_us += gaps[--count].length();
  gaps.resize(count);
  std::ranges::sort(gaps, {}, &Gap::begin_us);
  return gaps;
}

uint64_t nice_step(uint64_t least) {
  for (uint64_t power = 1;; power *= 10) {
    for (const uint64_t digit : {1, 2, 5}) {
      if (digit * power >= least) return digit * power;
    }
  }
}

}  // namespace

TimeAxis::TimeAxis(std::vector<uint64_t> events, Unit unit) : x_unit(unit) {
  events.push_back(0);
  std::ranges::sort(events);
  uint64_t at = 0;
  uint64_t shown_us = 0;
  if (unit == Unit::kMicroseconds) {
    for (const Gap& gap : long_gaps(events)) {
      x_pieces.push_back({at, gap.begin_us, 0, 0, false});
      x_pieces.push_back({gap.begin_us, gap.end_us, 0, 0, true});
      shown_us += gap.begin_us - at;
      at = gap.end_us;
    }
  }
  shown_us += events.back() - at;
  x_pieces.push_back({at, events.back() + shown_us / 50 + 1, 0, 0, false});
  lay_out();
}

void TimeAxis::lay_out() {
  double shown_us = 0;
  double left = kWidth;
  for (const Piece& piece : x_pieces) {
    left -= piece.pause ? kPauseWidth : kLeastWidth;
    if (!piece.pause) shown_us += static_cast<double>(piece.end_us - piece.begin_us);
  }
  double at = 0;
  for (Piece& piece : x_pieces) {
    piece.x = at;
    const double shown = left * static_cast<double>(piece.end_us - piece.begin_us) / shown_us;
    piece.width = piece.pause ? kPauseWidth : kLeastWidth + shown;
    at += piece.width;
  }
}

double TimeAxis::x(uint64_t us) const {
  const auto after =
      std::ranges::upper_bound(x_pieces, us, {}, [](const Piece& piece) { return piece.begin_us; });
  const Piece& piece = after == x_pieces.begin() ? x_pieces.front() : *std::prev(after);
  if (us >= piece.end_us) return piece.x + piece.width;
  return piece.x + piece.width * static_cast<double>(us - piece.begin_us) /
                       static_cast<double>(piece.end_us - piece.begin_us);
}

std::string TimeAxis::label(uint64_t us, uint64_t step_us) const {
  if (x_unit == Unit::kPositions) return count_text(us);
  if (end_us() < 10'000) return decimal(static_cast<double>(us) / 1000) + " ms";
  if (end_us() <= 1'000'000 || (us < 1'000'000 && step_us < 1'000'000 && us != 0))
    return count_text(us / 1000) + " ms";
  return decimal(static_cast<double>(us) / 1e6) + " s";
}

std::vector<TimeAxis::Tick> TimeAxis::ticks() const {
  uint64_t shown_us = 0;
  for (const Piece& piece : x_pieces) shown_us += piece.pause ? 0 : piece.end_us - piece.begin_us;
  const uint64_t step_us = nice_step(std::max<uint64_t>(shown_us / kTicks, 1));
  std::vector<Tick> ticks;
  const auto add = [&](uint64_t us) {
    const double at = x(us);
    if (at <= kWidth - kTickDistance / 3 && (ticks.empty() || at - ticks.back().x >= kTickDistance))
      ticks.push_back({at, label(us, step_us)});
  };
  for (const Piece& piece : x_pieces) {
    if (piece.pause) continue;
    const uint64_t first = (piece.begin_us + step_us - 1) / step_us * step_us;
    if (first >= piece.end_us) add(piece.begin_us);
    for (uint64_t us = first; us < piece.end_us; us += step_us) add(us);
  }
  return ticks;
}

std::vector<TimeAxis::Pause> TimeAxis::pauses() const {
  std::vector<Pause> pauses;
  for (const Piece& piece : x_pieces) {
    if (piece.pause) pauses.push_back({piece.x, piece.width, piece.end_us - piece.begin_us});
  }
  return pauses;
}

std::string time_text(uint64_t us) {
  if (us < 10'000) return decimal(static_cast<double>(us) / 1000) + " ms";
  if (us < 1'000'000) return std::to_string(us / 1000) + " ms";
  if (us < 120'000'000) return decimal(static_cast<double>(us / 10'000) / 100) + " s";
  const uint64_t minutes = us / 60'000'000;
  const auto two = [](uint64_t large, const char* unit, uint64_t small, const char* small_unit) {
    return count_text(large) + unit + (small == 0 ? "" : " " + std::to_string(small) + small_unit);
  };
  if (minutes < 60) return two(minutes, " min", us / 1'000'000 % 60, " s");
  if (minutes < 48 * 60) return two(minutes / 60, " h", minutes % 60, " min");
  return two(minutes / 60 / 24, " days", minutes / 60 % 24, " h");
}

}  // namespace dedup
