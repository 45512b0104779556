// SPDX-License-Identifier: Apache-2.0
#include "cli/run_metrics.hpp"

#include <cmath>
#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/output.hpp"
#include "cli/plot.hpp"
#include "format/goal.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "trainctl/error.hpp"

namespace trainctl::cli {
namespace {

constexpr std::size_t kRecent = 64;
constexpr std::size_t kMostBrief = 3;

std::string brief(const Stream& out, const std::string& name, const MetricSummary& summary, std::string_view goal) {
  std::string text = "   " + printable(name) + " " + base::format_number(summary.last);
  if (const double best = summary.best(goal); best != summary.last && !std::isnan(best)) {
    text += " (best " + base::format_number(best) + ")";
  }
  if (summary.recent.size() > 1 && out.utf8()) {
    const auto first = summary.recent.size() > 16 ? summary.recent.end() - 16 : summary.recent.begin();
    text += " " + sparkline(std::vector<double>(first, summary.recent.end()));
  }
  return text;
}

}  // namespace

MetricReader::MetricReader(format::AttemptPaths attempt) : attempt_(std::move(attempt)) {
  summaries_.keep_recent = kRecent;
}

void MetricReader::read_growth() {
  auto grew = summaries_.read_growth(attempt_);
  if (grew || grew.error().code != Errc::invalid) return;
  summaries_ = {};  // a script emptied its own file: what it says from now on counts
  summaries_.keep_recent = kRecent;
  (void)summaries_.read_growth(attempt_);
}

std::map<std::string, MetricSummary> MetricReader::metrics() const {
  return {summaries_.metrics.begin(), summaries_.metrics.end()};
}

MetricReader run_metrics(const format::RunPaths& run, int attempt) {
  MetricReader reader(run.attempt(attempt));
  if (attempt > 0) reader.read_growth();
  return reader;
}

std::string metrics_brief(const Stream& out, const format::RunPaths& run, int attempt,
                          const format::PlanMetrics& wanted) {
  const auto metrics = run_metrics(run, attempt).metrics();
  if (const auto primary = metrics.find(wanted.primary); primary != metrics.end()) {
    return brief(out, primary->first, primary->second, wanted.goal);
  }
  std::string text;
  std::size_t shown = 0;
  for (const auto& [name, summary] : metrics) {
    if (name.starts_with("system/") || shown == kMostBrief) continue;
    text += brief(out, name, summary, format::guess_goal(name));
    ++shown;
  }
  return text;
}

Json number_or_text(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

}  // namespace trainctl::cli
