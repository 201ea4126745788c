// ProgressView: progress lines of a streaming call as bars on a terminal, one per layer, redrawn in
// place. Writes only when it was given a terminal. One thread.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace dedup {

struct ProgressBar {
  std::string name;   // short digest, or "checking"
  std::string state;  // "fetching"
  uint64_t done_bytes = 0;
  uint64_t total_bytes = 0;
};

// The bars as lines of at most `columns` characters, at most `rows` lines: with too many, finished
// and waiting ones are summed up in a last line.
std::vector<std::string> progress_lines(const std::vector<ProgressBar>& bars, size_t columns,
                                        size_t rows);

class ProgressView {
 public:
  // fd: where bars go when it is a terminal that can move its cursor (TERM is not "dumb").
  explicit ProgressView(int fd);
  ~ProgressView() { clear(); }
  ProgressView(const ProgressView&) = delete;
  ProgressView& operator=(const ProgressView&) = delete;

  void show(const nlohmann::json& progress);  // one progress line of protocol.md
  void clear();                               // takes the bars off the terminal

 private:
  void draw();

  int x_fd;
  bool x_terminal;
  std::vector<ProgressBar> x_bars;
  size_t x_drawn_lines = 0;
  std::chrono::steady_clock::time_point x_next_draw{};
};

}  // namespace dedup
