// SPDX-License-Identifier: Apache-2.0
#include "cli/metric_table.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "cli/output.hpp"
#include "cli/plot.hpp"
#include "format/goal.hpp"

namespace trainctl::cli {
namespace {

constexpr std::size_t kColumns = 6;
constexpr std::size_t kNameWidth = 40;
constexpr std::size_t kCurveWidth = 16;
using Cells = std::array<std::string, kColumns>;

Goal goal_of(const MetricRow& row, const MetricTableOptions& options) {
  if (row.name == options.primary && options.goal != Goal::none) return options.goal;
  return guess_goal(row.name);
}

Cells cells_of(const MetricRow& row, const MetricTableOptions& options) {
  const Goal goal = goal_of(row, options);
  std::string best;
  if (goal != Goal::none) best = base::format_number(goal == Goal::maximize ? row.highest : row.lowest);
  if (goal != Goal::none && row.best_step) best += " @ " + std::to_string(*row.best_step);
  const std::string mark = row.name == options.primary ? "* " : "";
  return {fit(mark + printable(row.name), kNameWidth),
          base::format_number(row.last),
          row.step ? std::to_string(*row.step) : "",
          best,
          base::format_count(row.points),
          row.curve.size() > 1 ? sparkline(row.curve, kCurveWidth, options.utf8) : ""};
}

std::array<std::size_t, kColumns> widths_of(const std::vector<Cells>& table) {
  std::array<std::size_t, kColumns> widths{};
  for (const Cells& cells : table)
    for (std::size_t i = 0; i < kColumns; ++i) widths.at(i) = std::max(widths.at(i), display_width(cells.at(i)));
  return widths;
}

/// How many columns fit; the name and the last value always stand.
std::size_t columns_within(const std::array<std::size_t, kColumns>& widths, std::size_t most) {
  std::size_t shown = 0;
  for (std::size_t total = 0; shown < kColumns; ++shown) {
    total += widths.at(shown) + (shown == 0 ? 0 : 2);
    if (total > most && shown > 1) break;
  }
  return shown;
}

std::string line_of(const Cells& cells, const std::array<std::size_t, kColumns>& widths, std::size_t shown) {
  std::string text;
  for (std::size_t i = 0; i < shown; ++i) {
    const std::string blank(widths.at(i) - display_width(cells.at(i)), ' ');
    const bool left = i == 0 || i == kColumns - 1;
    text += (i == 0 ? "" : "  ") + (left ? cells.at(i) + blank : blank + cells.at(i));
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

}  // namespace

Goal parse_goal(std::string_view text) {
  const std::string word = base::to_lower(text);
  if (word == "maximize" || word == "max") return Goal::maximize;
  if (word == "minimize" || word == "min") return Goal::minimize;
  return Goal::none;
}

Goal guess_goal(std::string_view name) {
  return parse_goal(format::guess_goal(name));
}

std::string metric_table(std::span<const MetricRow> rows, const MetricTableOptions& options) {
  std::vector<const MetricRow*> order;
  for (const MetricRow& row : rows) order.push_back(&row);
  std::sort(order.begin(), order.end(), [&](const MetricRow* a, const MetricRow* b) {
    const bool a_first = a->name == options.primary;
    const bool b_first = b->name == options.primary;
    return a_first != b_first ? a_first : a->name < b->name;
  });
  std::vector<Cells> table = {{"METRIC", "LAST", "STEP", "BEST", "POINTS", ""}};
  for (const MetricRow* row : order) table.push_back(cells_of(*row, options));
  const auto widths = widths_of(table);
  const std::size_t shown = columns_within(widths, static_cast<std::size_t>(std::max(options.width, 20)));
  std::string out;
  for (std::size_t line = 0; line < table.size(); ++line) {
    const std::string text = line_of(table[line], widths, shown);
    out += line == 0 && options.colors ? "\x1b[2m" + text + "\x1b[0m\n" : text + "\n";
  }
  return out;
}

}  // namespace trainctl::cli
