// SPDX-License-Identifier: Apache-2.0
#include "index/series.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "format/metric.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {
namespace {

constexpr std::uint64_t kBlock = 4U << 20U;
constexpr std::size_t kGroup = 4;  ///< points that become two

using SeriesKey = std::tuple<std::string, std::string, int>;

/// Groups of neighbours become their lowest and highest point, in the order they had. NaN stands for itself.
void halve(std::vector<SeriesPoint>& points) {
  std::vector<SeriesPoint> kept;
  kept.reserve(points.size() / 2 + 2);
  kept.push_back(points.front());
  for (std::size_t begin = 1; begin + 1 < points.size(); begin += kGroup) {
    const std::size_t end = std::min(begin + kGroup, points.size() - 1);
    const auto less = [](const SeriesPoint& a, const SeriesPoint& b) {
      return a.value < b.value || (std::isnan(b.value) && !std::isnan(a.value));
    };
    const auto first = points.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto [low, high] = std::minmax_element(first, points.begin() + static_cast<std::ptrdiff_t>(end), less);
    kept.push_back(*std::min(low, high));
    if (low != high) kept.push_back(*std::max(low, high));
  }
  kept.push_back(points.back());
  points = std::move(kept);
}

void add(Series& series, const format::MetricPoint& point, std::size_t most) {
  const double time = static_cast<double>(point.t.time_since_epoch().count()) / 1e6;
  const SeriesPoint added{time, point.step, point.value};
  ++series.count;
  series.last = added;
  if (!(series.lowest.value <= added.value) && !std::isnan(added.value)) series.lowest = added;
  if (!(series.highest.value >= added.value) && !std::isnan(added.value)) series.highest = added;
  series.points.push_back(added);
  if (most > 0 && series.points.size() > 4 * most) halve(series.points);
}

bool is_wanted(const std::string& name, const SeriesQuery& query) {
  if (!query.names.empty()) return std::find(query.names.begin(), query.names.end(), name) != query.names.end();
  return query.system || !name.starts_with("system/");
}

}  // namespace

void thin_out(std::vector<SeriesPoint>& points, std::size_t most) {
  while (points.size() > std::max<std::size_t>(most, 4)) halve(points);
}

Result<std::vector<Series>> read_series(const format::AttemptPaths& attempt, const SeriesQuery& query) {
  std::map<SeriesKey, Series> found;
  std::vector<format::MetricPoint> points;
  TRY_ASSIGN(const std::vector<std::string> names, base::list_directory(attempt.metrics()));
  for (const std::string& file_name : names) {
    const auto file = format::parse_metric_file(file_name);
    if (!file) continue;
    for (std::uint64_t offset = 0;;) {
      TRY_ASSIGN(const std::string text, base::read_range(attempt.metrics() / file_name, offset, kBlock));
      points.clear();
      std::size_t consumed = format::decode_metrics(text, file->source, points);
      for (const format::MetricPoint& point : points) {
        if (!is_wanted(point.name, query)) continue;
        Series& series = found[{point.name, file->source, point.rank}];
        if (series.count == 0) series = {.name = point.name, .source = file->source, .rank = point.rank};
        add(series, point, query.most_points);
      }
      if (consumed == 0 && text.size() >= kBlock) consumed = text.size();  // no metric line is that long
      if (consumed == 0) break;
      offset += consumed;
    }
  }
  std::vector<Series> all;
  for (auto& [key, series] : found) {
    if (query.most_points > 0) thin_out(series.points, query.most_points);
    all.push_back(std::move(series));
  }
  return all;
}

}  // namespace trainctl::index
