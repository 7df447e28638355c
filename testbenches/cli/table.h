// SPDX-License-Identifier: Apache-2.0
// Tables for people: aligned columns, numbers to the right, headings of several lines. No escape codes unless
// the reader is a terminal.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace cli {

class Table {
 public:
  /// Headings; a '\n' inside one makes it two lines.
  explicit Table(std::vector<std::string> headings) : headings_(std::move(headings)) {}

  /// One row; missing cells are empty, too many are a mistake of the caller.
  void row(std::vector<std::string> cells);
  std::size_t rows() const { return rows_.size(); }

  /// The table, each line ended by '\n'. `colour` prints the headings bold.
  std::string text(bool colour = false) const;

 private:
  std::vector<std::string> headings_;
  std::vector<std::vector<std::string>> rows_;
};

/// Columns that a terminal needs for UTF-8 text (code points; combining marks count nothing).
std::size_t display_width(std::string_view utf8);

/// Does a cell read as a number (digits with sign, separators, a unit or "-" for none)?
bool looks_numeric(std::string_view cell);

}  // namespace cli
