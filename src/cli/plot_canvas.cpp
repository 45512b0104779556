// SPDX-License-Identifier: Apache-2.0
#include "cli/plot_canvas.hpp"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace trainctl::cli {
namespace {

constexpr std::array<std::string_view, 8> kColors = {"\x1b[36m", "\x1b[33m", "\x1b[35m", "\x1b[32m",
                                                     "\x1b[34m", "\x1b[31m", "\x1b[96m", "\x1b[93m"};
constexpr std::array<std::string_view, 8> kMarks = {"●", "▲", "■", "◆", "○", "△", "□", "◇"};
constexpr std::array<std::string_view, 8> kAsciiMarks = {"*", "+", "x", "o", "#", "@", "%", "&"};
constexpr std::string_view kReset = "\x1b[0m";

/// Bits of the braille patterns block (U+2800), by column and row of the dot.
constexpr std::array<std::array<std::uint8_t, 4>, 2> kBrailleBits = {
    {{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}}};

}  // namespace

std::string_view series_color(std::size_t index) {
  return kColors.at(index % kColors.size());
}

std::string_view series_mark(std::size_t index, bool utf8) {
  return utf8 ? kMarks.at(index % kMarks.size()) : kAsciiMarks.at(index % kAsciiMarks.size());
}

Canvas::Canvas(int columns, int rows, bool utf8)
    : columns_(columns),
      rows_(rows),
      utf8_(utf8),
      cells_(static_cast<std::size_t>(columns) * static_cast<std::size_t>(rows)) {}

Canvas::Cell* Canvas::cell_at(int x, int y) {
  if (x < 0 || y < 0 || x >= dot_width() || y >= dot_height()) return nullptr;
  const int column = utf8_ ? x / 2 : x;
  const int row = utf8_ ? y / 4 : y;
  return &cells_[static_cast<std::size_t>(row) * static_cast<std::size_t>(columns_) + static_cast<std::size_t>(column)];
}

void Canvas::dot(int x, int y, std::size_t series) {
  Cell* const cell = cell_at(x, y);
  if (cell == nullptr) return;
  const std::uint8_t bit =
      utf8_ ? kBrailleBits.at(static_cast<std::size_t>(x % 2)).at(static_cast<std::size_t>(y % 4)) : 1;
  cell->dots = static_cast<std::uint8_t>(cell->dots | bit);
  if (!cell->marked) cell->series = series;
}

void Canvas::line(int x0, int y0, int x1, int y1, std::size_t series) {
  const int dx = std::abs(x1 - x0);
  const int dy = -std::abs(y1 - y0);
  const int step_x = x0 < x1 ? 1 : -1;
  const int step_y = y0 < y1 ? 1 : -1;
  int error = dx + dy;
  while (true) {
    dot(x0, y0, series);
    if (x0 == x1 && y0 == y1) return;
    const int twice = 2 * error;
    if (twice >= dy) {
      error += dy;
      x0 += step_x;
    }
    if (twice <= dx) {
      error += dx;
      y0 += step_y;
    }
  }
}

void Canvas::mark(int x, int y, std::size_t series) {
  Cell* const cell = cell_at(x, y);
  if (cell == nullptr || cell->marked) return;
  cell->marked = true;
  cell->series = series;
}

void Canvas::append_cell(const Cell& cell, std::string& out) const {
  if (cell.marked || (cell.dots != 0 && !utf8_)) {
    out += series_mark(cell.series, utf8_);
  } else if (cell.dots == 0) {
    out += ' ';
  } else {
    // U+2800 + dots in UTF-8.
    out += '\xE2';
    out += static_cast<char>(0xA0 | (cell.dots >> 6));
    out += static_cast<char>(0x80 | (cell.dots & 0x3F));
  }
}

std::string Canvas::row(int index, bool colors) const {
  std::string out;
  std::string_view color;
  std::size_t blanks = 0;
  for (int column = 0; column < columns_; ++column) {
    const Cell& cell =
        cells_[static_cast<std::size_t>(index) * static_cast<std::size_t>(columns_) + static_cast<std::size_t>(column)];
    if (cell.dots == 0 && !cell.marked) {
      ++blanks;  // no spaces at the end of a line
      continue;
    }
    out.append(blanks, ' ');
    blanks = 0;
    if (colors && color != series_color(cell.series)) {
      color = series_color(cell.series);
      out += color;
    }
    append_cell(cell, out);
  }
  if (!color.empty()) out += kReset;
  return out;
}

}  // namespace trainctl::cli
