// SPDX-License-Identifier: Apache-2.0
#include "cli/run_metrics.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.hpp"
#include "base/text.hpp"
#include "cli/plot.hpp"
#include "format/goal.hpp"
#include "format/metric.hpp"

namespace trainctl::cli {
namespace {

constexpr std::size_t kRecent = 64;
constexpr std::size_t kMostBrief = 3;
constexpr std::uint64_t kMostAtOnce = 16U << 20U;

void add_point(MetricSummary& summary, const format::MetricPoint& point) {
  if (summary.points++ == 0 || std::isnan(summary.lowest)) summary.lowest = summary.highest = point.value;
  if (point.value < summary.lowest) summary.lowest = point.value;
  if (point.value > summary.highest) summary.highest = point.value;
  summary.last = point.value;
  if (point.step) summary.step = point.step;
  summary.recent.push_back(point.value);
  if (summary.recent.size() > 2 * kRecent) summary.recent.erase(summary.recent.begin(), summary.recent.end() - kRecent);
}

std::string brief(const Stream& out, const std::string& name, const MetricSummary& summary, std::string_view goal) {
  std::string text = "   " + printable(name) + " " + base::format_number(summary.best(goal));
  if (summary.recent.size() > 1 && out.utf8()) {
    const auto first = summary.recent.size() > 16 ? summary.recent.end() - 16 : summary.recent.begin();
    text += " " + sparkline(std::vector<double>(first, summary.recent.end()));
  }
  return text;
}

}  // namespace

double MetricSummary::best(std::string_view goal) const {
  if (goal == "minimize") return lowest;
  if (goal == "maximize") return highest;
  return last;
}

void MetricReader::read_growth() {
  const auto names = base::list_directory(attempt_.metrics());
  if (!names) return;
  std::vector<format::MetricPoint> points;
  for (const std::string& name : *names) {
    const auto file = format::parse_metric_file(name);
    if (!file) continue;
    std::uint64_t& offset = offsets_[name];
    for (;;) {
      const auto text = base::read_range(attempt_.metrics() / name, offset, kMostAtOnce);
      if (!text || text->empty()) break;
      points.clear();
      const std::size_t consumed = format::decode_metrics(*text, file->source, points);
      for (const format::MetricPoint& point : points) add_point(metrics_[point.name], point);
      offset += consumed;
      if (consumed == 0 || text->size() < kMostAtOnce) break;
    }
  }
}

std::map<std::string, MetricSummary> run_metrics(const format::RunPaths& run, int attempt) {
  if (attempt == 0) return {};
  MetricReader reader(run.attempt(attempt));
  reader.read_growth();
  return reader.metrics();
}

std::string metrics_brief(const Stream& out, const format::RunPaths& run, int attempt,
                          const format::PlanMetrics& wanted) {
  const auto metrics = run_metrics(run, attempt);
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
