#include "cli/table.h"

#include <algorithm>
#include <cassert>
#include <cstdint>

namespace dedup {

size_t display_width(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;  // not a continuation byte
  }));
}

void Table::add(std::vector<std::string> cells) {
  assert(cells.size() == x_columns.size());
  for (std::string& cell : cells) {
    if (cell.empty()) cell = "-";
  }
  x_rows.push_back(std::move(cells));
}

std::string Table::to_string() const {
  std::vector<std::string> titles;
  std::vector<size_t> widths;
  for (const Column& column : x_columns) {
    titles.push_back(column.title);
    widths.push_back(display_width(column.title));
  }
  for (const auto& row : x_rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  std::string text;
  const auto print = [&](const std::vector<std::string>& cells) {
    for (size_t i = 0; i < cells.size(); ++i) {
      const std::string padding(widths[i] - display_width(cells[i]), ' ');
      const bool last = i + 1 == cells.size();
      if (x_columns[i].align == Align::kRight) {
        text += padding + cells[i];
      } else {
        text += cells[i] + (last ? "" : padding);
      }
      text += last ? "\n" : "  ";
    }
  };
  print(titles);
  for (const auto& row : x_rows) print(row);
  return text;
}

}  // namespace dedup
