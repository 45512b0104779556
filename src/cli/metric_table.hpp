// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl::cli {

enum class Goal { none, maximize, minimize };

/// "maximize"/"minimize" (also max, min), else none.
Goal parse_goal(std::string_view text);

struct MetricRow {
  std::string name;
  std::uint64_t points = 0;
  double last = 0;
  std::optional<std::int64_t> step = {};  ///< of the last value
  double lowest = 0;
  double highest = 0;
  std::optional<std::int64_t> best_step = {};  ///< of the value that the goal asks for, where it is known
  std::vector<double> curve = {};              ///< all values
};

struct MetricTableOptions {
  std::string primary = {};  ///< stands first
  Goal goal = Goal::none;    ///< of the primary metric; of the others the name decides (loss, error: minimize)
  int width = 80;
  bool colors = false;
  bool utf8 = true;
};

/// The goal of a metric that nobody stated one for: "loss", "error", "mse" … in the name: minimize; "accuracy", "auc",
/// "f1", "score" …: maximize; else none.
Goal guess_goal(std::string_view name);

/// metric, last, step, best (at its step), points and a curve, one line a metric; the primary first (marked *), then by
/// name. Columns that do not fit are left out from the right.
std::string metric_table(std::span<const MetricRow> rows, const MetricTableOptions& options = {});

}  // namespace trainctl::cli
