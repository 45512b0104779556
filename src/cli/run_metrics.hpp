// SPDX-License-Identifier: Apache-2.0
// The metrics of one run, read straight from its files: for the status line, the summary and `show`. Listing many runs
// goes through the index instead.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "cli/output.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"

namespace trainctl::cli {

struct MetricSummary {
  double last = 0;
  double lowest = 0;
  double highest = 0;
  std::optional<std::int64_t> step;
  std::uint64_t points = 0;
  std::vector<double> recent;  ///< the newest values, at most 64, oldest first: for sparklines
  /// The best value for this goal; the last one when there is no goal.
  [[nodiscard]] double best(std::string_view goal) const;
};

/// Reads the growth of an attempt's metric files and keeps last, best and recent values by name. System metrics are
/// kept apart under their "system/" names.
class MetricReader {
 public:
  explicit MetricReader(format::AttemptPaths attempt) : attempt_(std::move(attempt)) {}
  void read_growth();
  [[nodiscard]] const std::map<std::string, MetricSummary>& metrics() const { return metrics_; }

 private:
  format::AttemptPaths attempt_;
  std::map<std::string, std::uint64_t> offsets_;
  std::map<std::string, MetricSummary> metrics_;
};

std::map<std::string, MetricSummary> run_metrics(const format::RunPaths& run, int attempt);

/// "   accuracy 0.967 ▁▃▅▇█": the primary metric, else the last up to three; empty without metrics.
std::string metrics_brief(const Stream& out, const format::RunPaths& run, int attempt,
                          const format::PlanMetrics& wanted);

/// A number for JSON; NaN and infinities as the texts "NaN", "Infinity", "-Infinity".
Json number_or_text(double value);

}  // namespace trainctl::cli
