#include "trace/profile_report.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <unordered_map>

namespace dedup {
namespace {

// Offset and length are at most 2^53 each.
constexpr ByteRange kWholeFile = {0, uint64_t{1} << 54};

void add_to(uint64_t& sum, uint64_t amount) {
  sum += std::min(amount, UINT64_MAX - sum);
}

// A part of a file and the entry or fetch that came to it first.
struct Piece {
  ByteRange range;
  size_t owner = 0;
};

// Gives each byte of a file to whoever asks first. Runs that touch are joined, so that hostile
// input costs n log n in all.
class FirstCome {
 public:
  void add(ByteRange range, size_t owner) {
    uint64_t begin = range.offset;
    uint64_t end = range.end();
    uint64_t at = begin;
    auto run = x_runs.upper_bound(begin);
    if (run != x_runs.begin() && std::prev(run)->second >= begin) --run;
    while (run != x_runs.end() && run->first <= range.end()) {
      if (at < run->first) x_pieces.push_back({{at, run->first - at}, owner});
      at = std::max(at, run->second);
      begin = std::min(begin, run->first);
      end = std::max(end, run->second);
      run = x_runs.erase(run);
    }
    if (at < range.end()) x_pieces.push_back({{at, range.end() - at}, owner});
    x_runs.emplace(begin, end);
  }

  std::vector<Piece> by_offset() && {
    std::ranges::sort(x_pieces, {}, [](const Piece& piece) { return piece.range.offset; });
    return std::move(x_pieces);
  }

 private:
  std::map<uint64_t, uint64_t> x_runs;  // begin -> end
  std::vector<Piece> x_pieces;
};

struct Overlap {
  size_t entry = 0;
  size_t fetch = 0;
  uint64_t bytes = 0;
};

std::vector<Overlap> overlaps_of(const std::vector<Piece>& touched,
                                 const std::vector<Piece>& fetched) {
  std::vector<Overlap> overlaps;
  for (size_t t = 0, f = 0; t < touched.size() && f < fetched.size();) {
    const ByteRange both = touched[t].range.intersect(fetched[f].range);
    if (!both.empty()) overlaps.push_back({touched[t].owner, fetched[f].owner, both.length});
    if (touched[t].range.end() < fetched[f].range.end())
      ++t;
    else
      ++f;
  }
  return overlaps;
}

struct FileLines {
  std::vector<size_t> entries;
  std::vector<size_t> fetches;
};

class Reporter {
 public:
  explicit Reporter(const Profile& profile) : x_profile(profile) {
    x_report.touches.resize(profile.entries.size());
    x_report.touched_of_fetch.resize(profile.fetches.size());
  }

  ProfileReport run() && {
    for (size_t i = 0; i < x_profile.entries.size(); ++i)
      lines_of(x_profile.entries[i]).entries.push_back(i);
    for (size_t i = 0; i < x_profile.fetches.size(); ++i)
      lines_of(x_profile.fetches[i]).fetches.push_back(i);
    for (size_t i = 0; i < x_lines.size(); ++i) add_file(x_lines[i], x_report.files[i]);
    for (const TouchReport& touch : x_report.touches)
      ++x_report.outcomes[static_cast<size_t>(touch.outcome)];
    return std::move(x_report);
  }

 private:
  // Entries are asked for first: files come by first touch.
  template <typename Line>
  FileLines& lines_of(const Line& line) {
    const auto [found, is_new] = x_numbers.try_emplace(line.path, x_lines.size());
    if (is_new) {
      x_lines.emplace_back();
      x_report.files.emplace_back();
      x_report.files.back().path = line.path;
      x_report.files.back().layer = line.layer;
    }
    return x_lines[found->second];
  }

  void add_file(const FileLines& lines, FileReport& file) {
    const std::vector<Piece> touched = add_touches(lines, file);
    FirstCome fetched;
    for (const size_t i : lines.fetches) fetched.add(x_profile.fetches[i].range, i);
    decide(overlaps_of(touched, std::move(fetched).by_offset()));
    for (const size_t i : lines.entries)
      file.misses += x_report.touches[i].outcome == TouchOutcome::kMiss ? 1 : 0;
    for (const size_t i : lines.fetches) add_fetch(i, file);
  }

  std::vector<Piece> add_touches(const FileLines& lines, FileReport& file) {
    FirstCome touched;
    for (const size_t i : lines.entries) {
      const bool whole = x_profile.entries[i].range.length == 0;
      touched.add(whole ? kWholeFile : x_profile.entries[i].range, i);
      x_report.whole_files += whole ? 1 : 0;
    }
    std::vector<Piece> pieces = std::move(touched).by_offset();
    for (const Piece& piece : pieces) {
      if (x_profile.entries[piece.owner].range.length == 0) continue;
      x_report.touches[piece.owner].new_bytes += piece.range.length;
      add_to(file.touched_bytes, piece.range.length);
      add_to(x_report.touched_bytes, piece.range.length);
    }
    file.ranges = lines.entries.size();
    if (!lines.entries.empty()) file.first_us = touch_us(lines.entries.front());
    return pieces;
  }

  void add_fetch(size_t number, FileReport& file) {
    const ProfileFetch& fetch = x_profile.fetches[number];
    const uint64_t untouched = fetch.range.length - x_report.touched_of_fetch[number];
    for (FetchTotals* totals : {&file.fetched[static_cast<size_t>(fetch.by)],
                                &x_report.fetched[static_cast<size_t>(fetch.by)]}) {
      ++totals->ranges;
      add_to(totals->bytes, fetch.range.length);
      add_to(totals->untouched_bytes, untouched);
    }
    if (fetch.by == FetchCause::kPrefetch && untouched == fetch.range.length)
      ++x_report.vain_ranges;
    add_to(file.wait_us, fetch.wait_us);
    add_to(x_report.wait_us, fetch.wait_us);
  }

  void decide(const std::vector<Overlap>& overlaps) {
    std::unordered_map<size_t, size_t> first_of;  // fetch -> the entry that touched it first
    for (const Overlap& overlap : overlaps) {
      const auto [first, is_new] = first_of.try_emplace(overlap.fetch, overlap.entry);
      if (!is_new) first->second = std::min(first->second, overlap.entry);
      x_report.touched_of_fetch[overlap.fetch] += overlap.bytes;
    }
    for (const Overlap& overlap : overlaps) {
      const ProfileFetch& fetch = x_profile.fetches[overlap.fetch];
      // The clocks of touches and fetches differ a little, so somebody must have been the first.
      const bool before_it_came =
          first_of[overlap.fetch] == overlap.entry || touch_us(overlap.entry) <= fetch.us;
      const TouchOutcome outcome = outcome_of(fetch, before_it_came);
      TouchReport& touch = x_report.touches[overlap.entry];
      if (touch.fetch && outcome <= touch.outcome) continue;
      touch.outcome = outcome;
      touch.fetch = overlap.fetch;
    }
  }

  static TouchOutcome outcome_of(const ProfileFetch& fetch, bool before_it_came) {
    if (fetch.by == FetchCause::kReader)
      return before_it_came ? TouchOutcome::kMiss : TouchOutcome::kAlong;
    if (before_it_came && fetch.wait_us != 0) return TouchOutcome::kLate;
    return fetch.by == FetchCause::kReadahead ? TouchOutcome::kAlong : TouchOutcome::kAhead;
  }

  uint64_t touch_us(size_t entry) const {
    return x_profile.prepared_us + x_profile.entries[entry].first_us;
  }

  const Profile& x_profile;
  ProfileReport x_report;
  std::unordered_map<std::string_view, size_t> x_numbers;  // of files, by path in x_profile
  std::vector<FileLines> x_lines;                          // as x_report.files
};

}  // namespace

ProfileReport report_of(const Profile& profile) {
  return Reporter(profile).run();
}

bool is_trace(const Profile& profile) {
  return !profile.container.empty() || profile.started_s != 0 || profile.prepared_us != 0 ||
         !profile.fetches.empty();
}

}  // namespace dedup
