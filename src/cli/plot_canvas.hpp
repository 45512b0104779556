// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl::cli {

/// The colour of series `index` as an SGR sequence, and its mark (in ASCII or not). Both begin again after eight.
std::string_view series_color(std::size_t index);
std::string_view series_mark(std::size_t index, bool utf8);

/// Cells of dots: 2 × 4 a cell in braille, one in ASCII. Where series cross, the later one gives the cell its colour.
class Canvas {
 public:
  Canvas(int columns, int rows, bool utf8);

  [[nodiscard]] int dot_width() const { return columns_ * (utf8_ ? 2 : 1); }
  [[nodiscard]] int dot_height() const { return rows_ * (utf8_ ? 4 : 1); }
  /// Dots count from the left and the top.
  void dot(int x, int y, std::size_t series);
  void line(int x0, int y0, int x1, int y1, std::size_t series);
  /// The series' mark in the cell that holds the dot; a mark of an earlier series stays.
  void mark(int x, int y, std::size_t series);

  [[nodiscard]] std::string row(int index, bool colors) const;

 private:
  struct Cell {
    std::uint8_t dots = 0;
    bool marked = false;
    std::size_t series = 0;
  };
  Cell* cell_at(int x, int y);
  void append_cell(const Cell& cell, std::string& out) const;

  int columns_;
  int rows_;
  bool utf8_;
  std::vector<Cell> cells_;
};

}  // namespace trainctl::cli
