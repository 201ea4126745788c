// Table: rows of text with aligned columns for people. Pure; one thread.
#pragma once

#include <string>
#include <vector>

namespace dedup {

class Table {
 public:
  enum class Align : uint8_t { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : x_columns(std::move(columns)) {}
  // As many cells as there are columns; an empty cell prints as "-".
  void add(std::vector<std::string> cells);
  std::string to_string() const;  // a title line, then the rows

 private:
  std::vector<Column> x_columns;
  std::vector<std::vector<std::string>> x_rows;
};

// Columns `text` takes on a terminal: UTF-8 characters, not bytes.
size_t display_width(const std::string& text);

}  // namespace dedup
