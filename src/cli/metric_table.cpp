// SPDX-License-Identifier: Apache-2.0
#include "cli/metric_table.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include "base/text.hpp"
#include "cli/output.hpp"
#include "cli/plot.hpp"

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
          row.recent.size() > 1 ? sparkline(row.recent, kCurveWidth, options.utf8) : ""};
}

bool contains_any(std::string_view text, std::span<const std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [text](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

}  // namespace

Goal parse_goal(std::string_view text) {
  const std::string word = base::to_lower(text);
  if (word == "maximize" || word == "max") return Goal::maximize;
  if (word == "minimize" || word == "min") return Goal::minimize;
  return Goal::none;
}

Goal guess_goal(std::string_view name) {
  static constexpr std::array<std::string_view, 8> kLow = {"loss", "error",      "mse",     "mae",
                                                           "rmse", "perplexity", "logloss", "wer"};
  static constexpr std::array<std::string_view, 8> kHigh = {"acc",       "auc",    "f1", "score",
                                                            "precision", "recall", "r2", "bleu"};
  const std::string word = base::to_lower(name);
  if (contains_any(word, kLow)) return Goal::minimize;
  if (contains_any(word, kHigh)) return Goal::maximize;
  return Goal::none;
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
  std::array<std::size_t, kColumns> widths{};
  for (const Cells& cells : table)
    for (std::size_t i = 0; i < kColumns; ++i) widths.at(i) = std::max(widths.at(i), display_width(cells.at(i)));
  std::size_t shown = 0;
  for (std::size_t total = 0; shown < kColumns; ++shown) {
    total += widths.at(shown) + (shown == 0 ? 0 : 2);
    if (total > static_cast<std::size_t>(std::max(options.width, 20)) && shown > 1) break;
  }
  std::string out;
  for (std::size_t line = 0; line < table.size(); ++line) {
    std::string text;
    for (std::size_t i = 0; i < shown; ++i) {
      const std::string& cell = table[line].at(i);
      const std::string blank(widths.at(i) - display_width(cell), ' ');
      const bool left = i == 0 || i == kColumns - 1;
      text += (i == 0 ? "" : "  ") + (left ? cell + blank : blank + cell);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += line == 0 && options.colors ? "\x1b[2m" + text + "\x1b[0m\n" : text + "\n";
  }
  return out;
}

}  // namespace trainctl::cli
