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
#include "format/metric_summary.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"

namespace trainctl::cli {

using format::MetricSummary;

/// Follows the growth of an attempt's metric files. System metrics have "system/" names.
class MetricReader {
 public:
  explicit MetricReader(format::AttemptPaths attempt);
  void read_growth();
  [[nodiscard]] std::map<std::string, MetricSummary> metrics() const;  ///< by name
  [[nodiscard]] const format::MetricSummaries& all() const { return summaries_; }

 private:
  format::AttemptPaths attempt_;
  format::MetricSummaries summaries_;
};

/// Everything an attempt recorded until now; nothing for attempt 0.
MetricReader run_metrics(const format::RunPaths& run, int attempt);

/// "   accuracy 0.967 ▁▃▅▇█": the primary metric, else the last up to three; empty without metrics.
std::string metrics_brief(const Stream& out, const format::RunPaths& run, int attempt,
                          const format::PlanMetrics& wanted);

/// A number for JSON; NaN and infinities as the texts "NaN", "Infinity", "-Infinity".
Json number_or_text(double value);

}  // namespace trainctl::cli
