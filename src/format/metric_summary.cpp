// SPDX-License-Identifier: Apache-2.0
#include "format/metric_summary.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "format/metric.hpp"
#include "format/paths.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::format {
namespace {

constexpr std::uint64_t kBlock = 1U << 20U;

/// Whether a point of `source` and `rank` counts. One that comes before the present one replaces all it had.
bool take_over(MetricSummary& summary, std::string_view source, int rank) {
  if (summary.source == source && summary.rank == rank && summary.points > 0) return true;
  if (summary.points > 0) {
    const auto present = std::pair(source_precedence(summary.source), summary.rank);
    if (std::pair(source_precedence(source), rank) >= present) return false;
  }
  summary = {};
  summary.source = source;
  summary.rank = rank;
  return true;
}

}  // namespace

std::size_t source_precedence(std::string_view source) {
  // What a script says itself comes before what is read from its files, and that before what it prints.
  constexpr std::array<std::string_view, 7> kOrder = {"script",    "mlflow",  "azureml", "tensorboard",
                                                      "lightning", "chainer", "pattern"};
  return static_cast<std::size_t>(std::find(kOrder.begin(), kOrder.end(), source) - kOrder.begin());
}

void MetricSummary::add(const MetricPoint& point, std::size_t keep_recent) {
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
  if (keep_recent == 0) return;
  recent.push_back(point.value);
  if (recent.size() > 2 * keep_recent) {
    recent.erase(recent.begin(), recent.end() - static_cast<std::ptrdiff_t>(keep_recent));
  }
}

double MetricSummary::best(std::string_view goal) const {
  if (goal == "minimize") return lowest;
  if (goal == "maximize") return highest;
  return last;
}

Result<bool> MetricSummaries::read_growth(const AttemptPaths& attempt) {
  TRY_ASSIGN(const std::vector<std::string> names, base::list_directory(attempt.metrics()));
  bool grew = false;
  for (const std::string& name : names) {
    const auto file = parse_metric_file(name);
    if (!file) continue;
    TRY_ASSIGN(const bool more, read_file_growth(attempt.metrics() / name, *file, offsets[name]));
    grew = grew || more;
  }
  return grew;
}

Result<bool> MetricSummaries::read_file_growth(const std::filesystem::path& path, const MetricFile& file,
                                               std::uint64_t& offset) {
  const std::uint64_t size = base::file_size(path).value_or(0);
  if (size < offset) return fail(Errc::invalid, path.string() + " has become shorter");
  bool grew = false;
  for (std::uint64_t begin = offset; begin < size;) {
    TRY_ASSIGN(const std::string text, base::read_range(path, begin, std::min(kBlock, size - begin)));
    points_.clear();
    records_.clear();
    std::size_t consumed = decode_metrics(text, file.source, points_, &records_);
    for (const MetricPoint& point : points_) {
      MetricSummary& summary = metrics[point.name];
      if (take_over(summary, file.source, file.rank >= 0 ? point.rank : std::max(file.node, 0))) {
        summary.add(point, keep_recent);
      }
    }
    for (const Json& record : records_) take_record(record);
    grew = grew || consumed > 0;
    // A whole block without a newline is no metric line (they are at most 4,096 bytes): go past it.
    if (consumed == 0 && text.size() >= kBlock) consumed = text.size();
    if (consumed == 0) break;
    begin += consumed;
    offset = begin;
  }
  return grew;
}

void MetricSummaries::take_record(const Json& record) {
  const std::string type = record.value("type", "");
  const std::string name = record.value("name", "");
  const auto value = record.find("value");
  if (type == "param" && value != record.end()) parameters[name] = *value;
  if (type == "tag" && value != record.end() && !name.starts_with("mlflow.")) tags[name] = *value;
  if (type != "text") return;
  const auto text_of = [&](const char* key) {
    const auto found = record.find(key);
    return found != record.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const auto step = record.find("step");
  const bool stepped = step != record.end() && step->is_number_integer();
  texts.push_back(
      {name, stepped ? std::optional(step->get<std::int64_t>()) : std::nullopt, text_of("text"), text_of("file")});
  if (texts.size() > kMostTexts) texts.erase(texts.begin());
}

Json with_logged(const Json& plan, const Json& logged) {
  Json all = plan.is_object() ? plan : Json::object();
  for (const auto& item : logged.items()) {
    if (!plan.is_object() || !plan.contains(item.key())) all[item.key()] = item.value();
  }
  return all;
}

}  // namespace trainctl::format
