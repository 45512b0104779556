// SPDX-License-Identifier: Apache-2.0
// Last, lowest and highest value of each metric of an attempt, kept up by reading only what the files grew by. The
// points themselves stay in the files. What one name gets from several sources (mlflow and tensorboard, say, of one
// training) is the same value twice: only the first source in the order of precedence counts.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "format/metric.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {

struct MetricSummary {
  double last = std::numeric_limits<double>::quiet_NaN();
  double lowest = std::numeric_limits<double>::quiet_NaN();  ///< NaN until a value that is a number
  double highest = std::numeric_limits<double>::quiet_NaN();
  std::optional<std::int64_t> step = {};  ///< of the last point that has one
  std::uint64_t points = 0;
  std::int64_t last_at = std::numeric_limits<std::int64_t>::min();  ///< us since 1970: the newest point is the last one

  std::string source = {};  ///< whose points these are

  void add(const format::MetricPoint& point);
  /// The best value for a goal ("maximize", "minimize"); the last one when there is no goal.
  [[nodiscard]] double best(std::string_view goal) const;
};

class MetricSummaries {
 public:
  using ByName = std::unordered_map<std::string, MetricSummary>;

  /// Where to read on, by file name: as stored by an earlier ingest.
  std::map<std::string, std::uint64_t> offsets = {};
  ByName metrics = {};

  /// Reads what the attempt's metric files grew by; true when there was anything. A file that shrank (a script may do
  /// that to its own files) is Errc::invalid: forget all and read from the beginning.
  Result<bool> read_growth(const format::AttemptPaths& attempt);

 private:
  Result<bool> read_file_growth(const std::filesystem::path& path, std::string_view source, std::uint64_t& offset);
  std::vector<format::MetricPoint> points_;
};

}  // namespace trainctl::index
