// SPDX-License-Identifier: Apache-2.0
#include "cli/plot.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/output.hpp"
#include "cli/plot_axis.hpp"
#include "cli/plot_canvas.hpp"

namespace trainctl::cli {
namespace {

constexpr int kMinWidth = 20;
constexpr int kMinHeight = 5;
constexpr int kMaxSide = 2000;
constexpr int kMinRows = 2;
constexpr int kMarkSpacing = 16;  ///< columns between two marks of one series

bool usable(const PlotPoint& point, bool log_y) {
  return std::isfinite(point.x) && std::isfinite(point.y) && (!log_y || point.y > 0);
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  [[nodiscard]] bool empty() const { return low > high; }
};

/// All points of a series that fall into one column of dots, as rows of dots.
struct Column {
  int first = 0;
  int last = 0;
  int top = 0;
  int bottom = 0;
  bool used = false;
  bool gap_before = false;  ///< a value without a place lies between this column and the one before
};

class Plotter {
 public:
  Plotter(std::span<const PlotSeries> series, const PlotOptions& options) : series_(series), options_(options) {
    options_.width = std::clamp(options_.width, kMinWidth, kMaxSide);
    options_.height = std::clamp(options_.height, kMinHeight, kMaxSide);
  }

  std::string draw() {
    Range x;
    Range y;
    for (const PlotSeries& one : series_) {
      Range own;
      for (const PlotPoint& point : one.points) {
        if (!usable(point, options_.log_y)) continue;
        own.add(point.y);
        x.add(point.x);
        y.add(point.y);
      }
      empty_.push_back(own.empty());
    }
    const std::vector<std::string> legend = legend_lines();
    std::string out;
    if (!x.empty()) {
      rows_ = std::max(kMinRows, options_.height - 2 - static_cast<int>(legend.size()));
      x_ = Axis::around(x.low, x.high, false);
      y_ = Axis::around(y.low, y.high, options_.log_y);
      out = draw_axes_and_lines();
    }
    for (const std::string& line : legend) out += line + "\n";
    return out;
  }

 private:
  std::string draw_axes_and_lines();
  [[nodiscard]] std::string x_axis(const std::vector<double>& ticks) const;
  [[nodiscard]] std::string x_labels(const std::vector<double>& ticks) const;
  [[nodiscard]] std::vector<double> x_ticks() const;
  [[nodiscard]] std::vector<std::string> x_tick_labels(const std::vector<double>& ticks) const;
  [[nodiscard]] int x_column(double value) const;
  [[nodiscard]] std::vector<std::string> legend_lines() const;
  void draw_series(std::size_t index, Canvas& canvas) const;
  [[nodiscard]] std::vector<Column> columns_of(const PlotSeries& one, const Canvas& canvas) const;
  void draw_marks(const std::vector<Column>& columns, std::size_t index, Canvas& canvas) const;

  std::span<const PlotSeries> series_;
  PlotOptions options_;
  std::vector<bool> empty_;
  Axis x_;
  Axis y_;
  int rows_ = 0;
  int columns_ = 0;
  int gutter_ = 0;  ///< columns of the y labels
};

int scaled(double position, int size) {
  return static_cast<int>(std::lround(position * (size - 1)));
}

std::vector<Column> Plotter::columns_of(const PlotSeries& one, const Canvas& canvas) const {
  std::vector<Column> columns(static_cast<std::size_t>(canvas.dot_width()));
  bool gap = false;
  for (const PlotPoint& point : one.points) {
    if (!usable(point, options_.log_y)) {
      gap = true;
      continue;
    }
    Column& column = columns[static_cast<std::size_t>(scaled(x_.position(point.x), canvas.dot_width()))];
    const int row = canvas.dot_height() - 1 - scaled(y_.position(point.y), canvas.dot_height());
    if (!column.used) column = {row, row, row, row, true, gap};
    column.last = row;
    column.top = std::min(column.top, row);
    column.bottom = std::max(column.bottom, row);
    gap = false;
  }
  return columns;
}

void Plotter::draw_series(std::size_t index, Canvas& canvas) const {
  const std::vector<Column> columns = columns_of(series_[index], canvas);
  int before = -1;
  for (int x = 0; x < canvas.dot_width(); ++x) {
    const Column& column = columns[static_cast<std::size_t>(x)];
    if (!column.used) continue;
    if (before >= 0 && !column.gap_before)
      canvas.line(before, columns[static_cast<std::size_t>(before)].last, x, column.first, index);
    canvas.line(x, column.top, x, column.bottom, index);
    before = x;
  }
  draw_marks(columns, index, canvas);
}

/// Colours may be off and are not seen alike by everyone: with several series each has marks on its line. A lone point
/// would be hard to see as a dot and is a mark, too.
void Plotter::draw_marks(const std::vector<Column>& columns, std::size_t index, Canvas& canvas) const {
  const auto used = std::count_if(columns.begin(), columns.end(), [](const Column& column) { return column.used; });
  if (used == 0 || (series_.size() < 2 && used > 1) || !options_.utf8) return;
  const int spacing = 2 * kMarkSpacing;
  const int shift = static_cast<int>(index % 4) * (spacing / 4);  // not all series at the same places
  int next = shift;
  bool any = false;
  for (int x = 0; x < static_cast<int>(columns.size()); ++x) {
    const Column& column = columns[static_cast<std::size_t>(x)];
    if (!column.used || x < next) continue;
    canvas.mark(x, column.last, index);
    any = true;
    next = x - (x - shift) % spacing + spacing;
  }
  if (any) return;
  const auto last = std::find_if(columns.rbegin(), columns.rend(), [](const Column& column) { return column.used; });
  canvas.mark(static_cast<int>(columns.rend() - last) - 1, last->last, index);
}

std::string Plotter::draw_axes_and_lines() {
  const std::vector<double> ticks = y_.ticks(std::max(3, rows_ / 3));
  const std::vector<std::string> labels = tick_labels(ticks);
  std::vector<std::string> by_row(static_cast<std::size_t>(rows_));
  for (std::size_t i = 0; i < ticks.size(); ++i) {
    gutter_ = std::max(gutter_, static_cast<int>(labels[i].size()));
    by_row[static_cast<std::size_t>(rows_ - 1 - scaled(y_.position(ticks[i]), rows_))] = labels[i];
  }
  columns_ = std::max(4, options_.width - gutter_ - 2);
  Canvas canvas(columns_, rows_, options_.utf8);
  for (std::size_t i = 0; i < series_.size(); ++i)
    if (!empty_[i]) draw_series(i, canvas);
  std::string out;
  for (int row = 0; row < rows_; ++row) {
    const std::string& label = by_row[static_cast<std::size_t>(row)];
    out.append(static_cast<std::size_t>(gutter_) - label.size(), ' ');
    out += label;
    if (options_.utf8)
      out += label.empty() ? " │" : " ┤";
    else
      out += label.empty() ? " |" : " +";
    out += canvas.row(row, options_.colors) + "\n";
  }
  const std::vector<double> along = x_ticks();
  return out + x_axis(along) + x_labels(along);
}

std::vector<double> Plotter::x_ticks() const {
  const int most = std::max(3, columns_ / 12);
  double unit = 1;
  if (options_.time_x) {
    for (const double size : {60.0, 3600.0, 86400.0})
      if (x_.high - x_.low >= 2 * size) unit = size;
  }
  std::vector<double> ticks = nice_ticks(x_.low / unit, x_.high / unit, most);
  for (double& tick : ticks) tick *= unit;
  if (options_.time_x) return ticks;
  // Steps are whole numbers; between two of them nothing has a name.
  std::vector<double> whole;
  for (const double tick : ticks)
    if (tick == std::floor(tick)) whole.push_back(tick);
  return whole.empty() ? ticks : whole;
}

std::vector<std::string> Plotter::x_tick_labels(const std::vector<double>& ticks) const {
  if (!options_.time_x) return tick_labels(ticks);
  std::vector<std::string> labels;
  labels.reserve(ticks.size());
  for (const double tick : ticks) labels.push_back(seconds_label(tick));
  return labels;
}

int Plotter::x_column(double value) const {
  return scaled(x_.position(value), columns_);
}

std::string Plotter::x_axis(const std::vector<double>& ticks) const {
  std::vector<bool> marked(static_cast<std::size_t>(columns_), false);
  for (const double tick : ticks) marked[static_cast<std::size_t>(x_column(tick))] = true;
  std::string out(static_cast<std::size_t>(gutter_) + 1, ' ');
  out += options_.utf8 ? "└" : "+";
  for (const bool mark : marked) {
    if (options_.utf8)
      out += mark ? "┬" : "─";
    else
      out += mark ? '+' : '-';
  }
  return out + "\n";
}

std::string Plotter::x_labels(const std::vector<double>& ticks) const {
  const std::vector<std::string> labels = x_tick_labels(ticks);
  const std::size_t left = static_cast<std::size_t>(gutter_) + 2;
  const std::size_t width = left + static_cast<std::size_t>(columns_);
  std::string out;
  for (std::size_t i = 0; i < ticks.size(); ++i) {
    const std::string& label = labels[i];
    const std::size_t center = left + static_cast<std::size_t>(x_column(ticks[i]));
    std::size_t begin = center - std::min(center, label.size() / 2);
    begin = std::min(begin, width - std::min(width, label.size()));
    if (i > 0 && begin < out.size() + 2) continue;
    out.resize(std::max(begin, out.size()), ' ');
    out += label;
  }
  const std::size_t label_width = display_width(options_.x_label);
  if (!options_.x_label.empty() && out.size() + 2 + label_width <= width) {
    out.resize(width - label_width, ' ');
    out += options_.x_label;
  }
  return out + "\n";
}

std::vector<std::string> Plotter::legend_lines() const {
  std::vector<std::string> lines;
  std::size_t used = 0;
  const auto width = static_cast<std::size_t>(options_.width);
  for (std::size_t i = 0; i < series_.size(); ++i) {
    const std::string name = fit(printable(series_[i].name) + (empty_[i] ? " (no values)" : ""), width - 4);
    const std::size_t size = display_width(name) + 4;
    if (lines.empty() || used + size + 1 > width) {
      lines.emplace_back();
      used = 0;
    }
    std::string& line = lines.back();
    line += used == 0 ? "  " : "   ";
    if (options_.colors) line += series_color(i);
    line += series_mark(i, options_.utf8);
    if (options_.colors) line += "\x1b[0m";
    line += " " + name;
    used += size + (used == 0 ? 0 : 1);
  }
  return lines;
}

}  // namespace

std::string plot(std::span<const PlotSeries> series, const PlotOptions& options) {
  return Plotter(series, options).draw();
}

std::string sparkline(std::span<const double> values, std::size_t width, bool utf8) {
  static constexpr std::array<std::string_view, 8> kBars = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static constexpr std::array<std::string_view, 4> kAscii = {"_", ".", "-", "^"};
  const std::size_t count = std::min(values.size(), width);
  std::vector<double> means(count, std::numeric_limits<double>::quiet_NaN());
  Range range;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t begin = i * values.size() / count;
    const std::size_t end = (i + 1) * values.size() / count;
    double mean = 0;
    double finite = 0;
    for (const double value : values.subspan(begin, end - begin))
      if (std::isfinite(value)) mean += (value - mean) / ++finite;
    if (finite == 0 || !std::isfinite(mean)) continue;
    means[i] = mean;
    range.add(mean);
  }
  const std::size_t heights = utf8 ? kBars.size() : kAscii.size();
  std::string out;
  for (const double mean : means) {
    if (std::isnan(mean)) {
      out += ' ';
      continue;
    }
    const double position =
        range.low == range.high ? 0.5 : (mean / 2 - range.low / 2) / (range.high / 2 - range.low / 2);
    const auto height = std::min(heights - 1, static_cast<std::size_t>(position * static_cast<double>(heights)));
    out += utf8 ? kBars.at(height) : kAscii.at(height);
  }
  return out;
}

}  // namespace trainctl::cli
