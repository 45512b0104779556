// SPDX-License-Identifier: Apache-2.0
// What an attempt's metric files say in short, kept up by reading only what they grew by: last, lowest and highest
// value of each metric, and the parameters, tags and texts that the script recorded. The points themselves stay in the
// files. What one name gets from several sources (mlflow and tensorboard, say, of one training) is the same value
// twice: only the first source in the order of precedence counts. Of several ranks (or nodes) the lowest one speaks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.hpp"
#include "format/metric.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::format {

struct MetricSummary {
  double last = std::numeric_limits<double>::quiet_NaN();
  double lowest = std::numeric_limits<double>::quiet_NaN();  ///< NaN until a value that is a number
  double highest = std::numeric_limits<double>::quiet_NaN();
  std::optional<std::int64_t> step = {};  ///< of the last point that has one
  std::uint64_t points = 0;
  std::int64_t last_at = std::numeric_limits<std::int64_t>::min();  ///< us since 1970: the newest point is the last one

  std::string source = {};          ///< whose points these are
  int rank = 0;                     ///< of the process, or the node, whose points these are
  std::vector<double> recent = {};  ///< oldest first, at least the newest MetricSummaries::keep_recent

  void add(const MetricPoint& point, std::size_t keep_recent = 0);
  /// The best value for a goal ("maximize", "minimize"); the last one when there is no goal.
  [[nodiscard]] double best(std::string_view goal) const;
};

/// A line of log_text.
struct LoggedText {
  std::string name;
  std::optional<std::int64_t> step;
  std::string text;
  std::string file;  ///< below outputs/, where the whole text is; empty when `text` is whole
};

/// The place of a source among those that may say the same; the lowest counts.
std::size_t source_precedence(std::string_view source);

class MetricSummaries {
 public:
  using ByName = std::unordered_map<std::string, MetricSummary>;

  /// Where to read on, by file name: as stored by an earlier ingest.
  std::map<std::string, std::uint64_t> offsets = {};
  ByName metrics = {};
  // Of what was read now: by name, the last value said. Tags that MLflow's client sets for itself are left out.
  Json parameters = Json::object();
  Json tags = Json::object();
  std::vector<LoggedText> texts = {};  ///< the newest kMostTexts
  std::size_t keep_recent = 0;         ///< values for sparklines

  static constexpr std::size_t kMostTexts = 100;

  /// Reads what the attempt's metric files grew by; true when there was anything. A file that shrank (a script may do
  /// that to its own files) is Errc::invalid: forget all and read from the beginning.
  Result<bool> read_growth(const AttemptPaths& attempt);

 private:
  Result<bool> read_file_growth(const std::filesystem::path& path, const MetricFile& file, std::uint64_t& offset);
  void take_record(const Json& record);
  std::vector<MetricPoint> points_;
  std::vector<Json> records_;
};

/// `logged` beside what the plan says: a name that the plan has keeps the plan's value.
Json with_logged(const Json& plan, const Json& logged);

}  // namespace trainctl::format
