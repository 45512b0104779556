// SPDX-License-Identifier: Apache-2.0
#include "index/metric_summary.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/file.hpp"

namespace trainctl::index {
namespace {

constexpr std::uint64_t kBlock = 1U << 20U;

/// What a script says itself comes before what is read from its files, and that before what it prints.
std::size_t precedence(std::string_view source) {
  constexpr std::array<std::string_view, 7> kOrder = {"script",    "mlflow",  "azureml", "tensorboard",
                                                      "lightning", "chainer", "pattern"};
  return static_cast<std::size_t>(std::find(kOrder.begin(), kOrder.end(), source) - kOrder.begin());
}

/// Whether a point of `source` counts. A source that comes before the present one replaces all it had.
bool take_over(MetricSummary& summary, std::string_view source) {
  if (summary.source == source) return true;
  if (summary.points > 0 && precedence(source) >= precedence(summary.source)) return false;
  summary = {};
  summary.source = source;
  return true;
}

}  // namespace

void MetricSummary::add(const format::MetricPoint& point) {
  const std::int64_t at = point.t.time_since_epoch().count();
  if (at >= last_at) {
    last = point.value;
    last_at = at;
    if (point.step) step = point.step;
  }
  // A comparison with NaN is false, so the first number replaces it and a NaN point changes nothing.
  if (!(lowest <= point.value) && !std::isnan(point.value)) lowest = point.value;
  if (!(highest >= point.value) && !std::isnan(point.value)) highest = point.value;
  ++points;
}

double MetricSummary::best(std::string_view goal) const {
  if (goal == "minimize") return lowest;
  if (goal == "maximize") return highest;
  return last;
}

Result<bool> MetricSummaries::read_growth(const format::AttemptPaths& attempt) {
  TRY_ASSIGN(const std::vector<std::string> names, base::list_directory(attempt.metrics()));
  bool grew = false;
  for (const std::string& name : names) {
    const auto file = format::parse_metric_file(name);
    if (!file) continue;
    TRY_ASSIGN(const bool more, read_file_growth(attempt.metrics() / name, file->source, offsets[name]));
    grew = grew || more;
  }
  return grew;
}

Result<bool> MetricSummaries::read_file_growth(const std::filesystem::path& path, std::string_view source,
                                               std::uint64_t& offset) {
  const std::uint64_t size = base::file_size(path).value_or(0);
  if (size < offset) return fail(Errc::invalid, path.string() + " has become shorter");
  bool grew = false;
  for (std::uint64_t begin = offset; begin < size;) {
    TRY_ASSIGN(const std::string text, base::read_range(path, begin, std::min(kBlock, size - begin)));
    points_.clear();
    std::size_t consumed = format::decode_metrics(text, source, points_);
    for (const format::MetricPoint& point : points_) {
      MetricSummary& summary = metrics[point.name];
      if (take_over(summary, source)) summary.add(point);
    }
    grew = grew || consumed > 0;
    // A whole block without a newline is no metric line (they are at most 4,096 bytes): go past it.
    if (consumed == 0 && text.size() >= kBlock) consumed = text.size();
    if (consumed == 0) break;
    begin += consumed;
    offset = begin;
  }
  return grew;
}

}  // namespace trainctl::index
