// SPDX-License-Identifier: Apache-2.0
// The points of metrics, read straight from an attempt's files: they are the truth, the index keeps only summaries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {

struct SeriesPoint {
  double time = 0;  ///< seconds since 1970, UTC
  std::optional<std::int64_t> step = {};
  double value = 0;
};

/// What one rank logged under one name.
struct Series {
  std::string name, source;
  int rank = 0;
  std::vector<SeriesPoint> points = {};  ///< in the order they were logged, thinned out when asked for
  std::uint64_t count = 0;               ///< points in the files, without what another source said
  SeriesPoint last = {};
  SeriesPoint lowest = {.value = std::numeric_limits<double>::quiet_NaN()};  ///< NaN: no number was logged
  SeriesPoint highest = {.value = std::numeric_limits<double>::quiet_NaN()};
};

struct SeriesQuery {
  std::vector<std::string> names = {};  ///< empty = all
  bool system = false;  ///< with the names that begin with "system/"; names asked for are always included
  /// At most so many points a series; 0 = all. Neighbours are replaced by their lowest and highest, so no peak is lost,
  /// and the first and the last point stay.
  std::size_t most_points = 0;
};

/// Sorted by name, source and rank. What several sources say of one step of a name and rank (mlflow and tensorboard,
/// say, of one training) is in the series of the first of them, in the order of MetricSummaries.
Result<std::vector<Series>> read_series(const format::AttemptPaths& attempt, const SeriesQuery& query);

/// The thinning of SeriesQuery::most_points.
void thin_out(std::vector<SeriesPoint>& points, std::size_t most);

}  // namespace trainctl::index
