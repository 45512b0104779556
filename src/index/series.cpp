// SPDX-License-Identifier: Apache-2.0
#include "index/series.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "format/metric.hpp"
#include "format/metric_summary.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {
namespace {

constexpr std::uint64_t kBlock = 4U << 20U;
constexpr std::size_t kGroup = 4;  ///< points that become two

using SeriesKey = std::tuple<std::string, int, std::string>;  ///< name, rank, source

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

/// Which points of a name and rank were read already. Sources come one after the other.
class SeenPoints {
 public:
  /// Whether an earlier source has said the same of the same step. TensorBoard keeps floats, others doubles of one
  /// value.
  bool repeats(const format::MetricPoint& point, const std::string& source) {
    if (!point.step) return false;
    if (source != source_) {
      earlier_.insert(earlier_.end(), current_.begin(), current_.end());
      std::sort(earlier_.begin(), earlier_.end());
      current_.clear();
      source_ = source;
    }
    const Seen seen{*point.step, std::bit_cast<std::uint32_t>(static_cast<float>(point.value))};
    if (std::binary_search(earlier_.begin(), earlier_.end(), seen)) return true;
    current_.push_back(seen);
    return false;
  }

 private:
  using Seen = std::pair<std::int64_t, std::uint32_t>;  ///< step and value
  std::vector<Seen> earlier_, current_;
  std::string source_;
};

class Reader {
 public:
  explicit Reader(const SeriesQuery& query) : query_(query) {}

  Result<> read(const format::AttemptPaths& attempt) {
    TRY_ASSIGN(const std::vector<std::string> names, base::list_directory(attempt.metrics()));
    std::vector<std::pair<std::string, std::string>> files;  // source and name
    for (const std::string& name : names) {
      if (const auto file = format::parse_metric_file(name)) files.emplace_back(file->source, name);
    }
    std::stable_sort(files.begin(), files.end(), [](const auto& a, const auto& b) {
      return format::source_precedence(a.first) < format::source_precedence(b.first);
    });
    for (const auto& [source, name] : files) TRY(read_file(attempt.metrics() / name, source));
    return {};
  }

  /// Forgets what several sources call the same, to be read again without what they repeat of each other. False: there
  /// is nothing of that kind.
  bool find_shared() {
    for (auto one = found_.begin(); one != found_.end() && std::next(one) != found_.end(); ++one) {
      const Series& series = one->second;
      const Series& next = std::next(one)->second;
      if (series.name == next.name && series.rank == next.rank) shared_.try_emplace({series.name, series.rank});
    }
    std::erase_if(found_, [&](const auto& one) { return is_shared(one.second.name, one.second.rank); });
    again_ = !shared_.empty();
    return again_;
  }

  std::vector<Series> take() {
    std::vector<Series> all;
    for (auto& [key, series] : found_) {
      if (query_.most_points > 0) thin_out(series.points, query_.most_points);
      all.push_back(std::move(series));
    }
    std::sort(all.begin(), all.end(), [](const Series& a, const Series& b) {
      return std::tie(a.name, a.source, a.rank) < std::tie(b.name, b.source, b.rank);
    });
    return all;
  }

 private:
  [[nodiscard]] bool is_shared(const std::string& name, int rank) const { return shared_.contains({name, rank}); }

  Result<> read_file(const std::filesystem::path& path, const std::string& source) {
    std::vector<format::MetricPoint> points;
    for (std::uint64_t offset = 0;;) {
      TRY_ASSIGN(const std::string text, base::read_range(path, offset, kBlock));
      points.clear();
      std::size_t consumed = format::decode_metrics(text, source, points);
      for (const format::MetricPoint& point : points) take_point(point, source);
      if (consumed == 0 && text.size() >= kBlock) consumed = text.size();  // no metric line is that long
      if (consumed == 0) return {};
      offset += consumed;
    }
  }

  void take_point(const format::MetricPoint& point, const std::string& source) {
    if (!is_wanted(point.name, query_)) return;
    if (again_) {
      const auto shared = shared_.find({point.name, point.rank});
      if (shared == shared_.end() || shared->second.repeats(point, source)) return;
    }
    Series& series = found_[{point.name, point.rank, source}];
    if (series.count == 0) series = {.name = point.name, .source = source, .rank = point.rank};
    add(series, point, query_.most_points);
  }

  const SeriesQuery& query_;
  std::map<SeriesKey, Series> found_;
  std::map<std::pair<std::string, int>, SeenPoints> shared_;  ///< what more than one source logged
  bool again_ = false;
};

}  // namespace

void thin_out(std::vector<SeriesPoint>& points, std::size_t most) {
  while (points.size() > std::max<std::size_t>(most, 4)) halve(points);
}

Result<std::vector<Series>> read_series(const format::AttemptPaths& attempt, const SeriesQuery& query) {
  Reader reader(query);
  TRY(reader.read(attempt));
  // Rare, so only then is it read again: the first time its points may have been thinned out already.
  if (reader.find_shared()) TRY(reader.read(attempt));
  return reader.take();
}

}  // namespace trainctl::index
