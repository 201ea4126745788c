#include "cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "cli/answer.h"
#include "cli/report.h"
#include "cli/sizes.h"

namespace dedup {
namespace {

constexpr auto kRedrawPause = std::chrono::milliseconds(100);
constexpr size_t kBarCells = 24;
constexpr size_t kNameCells = 12;
constexpr const char* kClearToEnd = "\033[J";

std::string bar_line(const ProgressBar& bar) {
  const uint64_t done = std::min(bar.done_bytes, bar.total_bytes);
  const double share = bar.total_bytes == 0
                           ? (bar.state == "ready" ? 1.0 : 0.0)
                           : static_cast<double>(done) / static_cast<double>(bar.total_bytes);
  const auto filled = static_cast<size_t>(share * kBarCells);
  std::string percent = std::to_string(static_cast<int>(share * 100)) + "%";
  percent.insert(0, 4 - std::min<size_t>(percent.size(), 4), ' ');
  std::string name = bar.name;
  name.resize(std::max(name.size(), kNameCells), ' ');
  return name + " [" + std::string(filled, '#') + std::string(kBarCells - filled, '.') + "] " +
         percent + "  " + rounded_size(done) + " / " + rounded_size(bar.total_bytes) + "  " +
         bar.state;
}

void write_all(int fd, const std::string& text) {
  size_t written = 0;
  while (written < text.size()) {
    const ssize_t n = ::write(fd, text.data() + written, text.size() - written);
    if (n <= 0) return;  // progress is a courtesy
    written += static_cast<size_t>(n);
  }
}

}  // namespace

std::vector<std::string> progress_lines(const std::vector<ProgressBar>& bars, size_t columns,
                                        size_t rows) {
  std::vector<std::string> lines;
  const bool all_fit = bars.size() <= rows;
  size_t ready = 0;
  size_t waiting = 0;
  for (const ProgressBar& bar : bars) {
    const bool active = bar.state != "ready" && bar.state != "waiting";
    if (all_fit || (active && lines.size() + 1 < rows)) {
      lines.push_back(bar_line(bar));
    } else {
      ++(bar.state == "ready" ? ready : waiting);
    }
  }
  if (!all_fit) {
    lines.push_back(std::to_string(ready) + " layers ready, " + std::to_string(waiting) +
                    " more to come");
  }
  for (std::string& line : lines) line.resize(std::min(line.size(), columns));
  return lines;
}

ProgressView::ProgressView(int fd) : x_fd(fd), x_terminal(::isatty(fd) == 1) {
  const char* terminal = std::getenv("TERM");
  if (terminal == nullptr || std::strcmp(terminal, "dumb") == 0) x_terminal = false;
}

void ProgressView::show(const nlohmann::json& progress) {
  if (!x_terminal) return;
  ProgressBar bar{"checking", text_at(progress, "state"), number_at(progress, "done_bytes"),
                  number_at(progress, "total_bytes")};
  if (const std::string layer = text_at(progress, "layer"); !layer.empty()) {
    bar.name = short_digest(layer);
  } else {
    bar.done_bytes = number_at(progress, "checked_bytes");
  }
  const auto known = std::find_if(x_bars.begin(), x_bars.end(),
                                  [&](const ProgressBar& other) { return other.name == bar.name; });
  if (known == x_bars.end()) {
    x_bars.push_back(std::move(bar));
  } else {
    *known = std::move(bar);
  }
  const auto now = std::chrono::steady_clock::now();
  if (now < x_next_draw) return;
  x_next_draw = now + kRedrawPause;
  draw();
}

void ProgressView::draw() {
  winsize size{};
  if (::ioctl(x_fd, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) size.ws_col = 80;
  if (size.ws_row < 3) size.ws_row = 24;
  // The last column is left free: writing there wraps on some terminals.
  const auto lines = progress_lines(x_bars, size.ws_col - 1u, size.ws_row - 1u);
  std::string text;
  if (x_drawn_lines > 0) text += "\033[" + std::to_string(x_drawn_lines) + "A\r";
  text += kClearToEnd;
  for (const std::string& line : lines) text += line + "\n";
  x_drawn_lines = lines.size();
  write_all(x_fd, text);
}

void ProgressView::clear() {
  if (x_drawn_lines > 0) {
    write_all(x_fd, "\033[" + std::to_string(x_drawn_lines) + "A\r" + kClearToEnd);
  }
  x_drawn_lines = 0;
}

}  // namespace dedup
