// SPDX-License-Identifier: Apache-2.0
#include "testbenches/cli/table.h"

#include <algorithm>

#include "sim/error.h"

namespace cli {
namespace {

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (std::size_t at = 0;;) {
    const std::size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    if (end == std::string_view::npos) return lines;
    at = end + 1;
  }
}

void append_cell(std::string& out, std::string_view cell, std::size_t width, bool right, bool last) {
  const std::string pad(width - display_width(cell), ' ');
  if (right) {
    out += pad;
    out += cell;
  } else {
    out += cell;
    if (!last) out += pad;
  }
  if (!last) out += "  ";
}

void end_line(std::string& out) {
  while (!out.empty() && out.back() == ' ') out.pop_back();
  out += '\n';
}

}  // namespace

std::size_t display_width(std::string_view utf8) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < utf8.size(); ++i) {
    const auto c = static_cast<unsigned char>(utf8[i]);
    if ((c & 0xc0) == 0x80) continue;
    const bool combining = (c == 0xcc || c == 0xcd) && i + 1 < utf8.size() &&
                           (c == 0xcc || static_cast<unsigned char>(utf8[i + 1]) < 0xb0);
    if (!combining) ++width;
  }
  return width;
}

bool looks_numeric(std::string_view cell) {
  if (cell.empty() || cell == "-") return true;
  std::size_t i = cell[0] == '+' || cell[0] == '-' ? 1 : 0;
  if (i == cell.size() || cell[i] < '0' || cell[i] > '9') return false;
  while (i < cell.size() && (std::string_view("0123456789.,'").find(cell[i]) != std::string_view::npos)) ++i;
  if (i == cell.size() || cell[i] == '%') return true;
  // A unit of one word: "12.5 us", "3x".
  if (cell[i] == ' ') ++i;
  return cell.find(' ', i) == std::string_view::npos;
}

void Table::row(std::vector<std::string> cells) {
  POOLSIM_ASSERT(cells.size() <= headings_.size());
  cells.resize(headings_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text(bool colour) const {
  const std::size_t columns = headings_.size();
  std::vector<std::vector<std::string_view>> headings;
  std::vector<std::size_t> width(columns, 0);
  std::vector<bool> right(columns, true);
  std::size_t heading_lines = 0;
  for (std::size_t c = 0; c < columns; ++c) {
    headings.push_back(lines_of(headings_[c]));
    heading_lines = std::max(heading_lines, headings[c].size());
    for (const auto line : headings[c]) width[c] = std::max(width[c], display_width(line));
    bool any = false;
    for (const auto& r : rows_) {
      width[c] = std::max(width[c], display_width(r[c]));
      right[c] = right[c] && looks_numeric(r[c]);
      any = any || !r[c].empty();
    }
    right[c] = right[c] && any;
  }
  std::string out;
  for (std::size_t line = 0; line < heading_lines; ++line) {
    if (colour) out += "\033[1m";
    for (std::size_t c = 0; c < columns; ++c) {
      // Headings stand on the table: short ones begin lower.
      const std::size_t skip = heading_lines - headings[c].size();
      append_cell(out, line < skip ? std::string_view() : headings[c][line - skip], width[c], right[c],
                  c + 1 == columns);
    }
    end_line(out);
    if (colour) out.insert(out.size() - 1, "\033[0m");
  }
  for (std::size_t c = 0; c < columns; ++c) {
    out += std::string(width[c], '-');
    out += c + 1 == columns ? "\n" : "  ";
  }
  for (const auto& r : rows_) {
    for (std::size_t c = 0; c < columns; ++c) append_cell(out, r[c], width[c], right[c], c + 1 == columns);
    end_line(out);
  }
  return out;
}

}  // namespace cli
