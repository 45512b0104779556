// SPDX-License-Identifier: Apache-2.0
// What MLflow clients have logged: a fold over the lines of metrics/mlflow-r<rank>.jsonl (docs/metrics.md).
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "format/metric.hpp"

namespace trainctl::host {

struct TrackedRun {
  std::string id = {};
  std::string name = {};
  std::string parent = {};
  std::string prefix = {};  ///< stands before its names: "" for our run, "fold-1/" for another one
  std::string status = "RUNNING";
  std::int64_t started_ms = 0;
  std::int64_t ended_ms = 0;
  bool deleted = false;
  std::map<std::string, std::string> params = {};
  std::map<std::string, std::string> tags = {};
  std::map<std::string, format::MetricPoint> metrics = {};  ///< the last point of each, by its name without the prefix
};

/// A logged model of MLflow 3.
struct TrackedModel {
  std::string id = {};
  std::string name = {};
  std::string folder = {};  ///< below the outputs
  std::string run = {};
  std::string status = "LOGGED_MODEL_PENDING";
  std::int64_t created_ms = 0;
  std::map<std::string, std::string> params = {};
  std::map<std::string, std::string> tags = {};
};

class Tracking {
 public:
  /// `run` is trainctl's own run: it is there from the start, and what is logged to it has no prefix.
  Tracking(std::string run, std::string name, std::string experiment, std::int64_t started_ms);

  /// Takes in what is also written to the file. Unknown records do nothing.
  void apply(const format::MetricPoint& point);
  void apply(const Json& record);

  [[nodiscard]] const std::string& main_run() const { return main_; }
  [[nodiscard]] const std::string& experiment() const { return experiment_; }
  [[nodiscard]] const TrackedRun* find_run(const std::string& id) const;
  [[nodiscard]] const TrackedModel* find_model(const std::string& id) const;
  [[nodiscard]] const std::map<std::string, TrackedRun>& runs() const { return runs_; }
  [[nodiscard]] const std::map<std::string, TrackedModel>& models() const { return models_; }
  /// `wanted`, or with a number at its end: no other run or model has this name in this place.
  [[nodiscard]] std::string free_prefix(const std::string& parent, const std::string& wanted) const;
  [[nodiscard]] std::string free_folder(const std::string& wanted) const;

 private:
  void apply_run(const Json& record);
  void apply_model(const Json& record);

  std::string main_;
  std::string experiment_;
  std::map<std::string, TrackedRun> runs_ = {};
  std::map<std::string, TrackedModel> models_ = {};
};

/// Appends the record as one line of at most format::kMaxMetricLine bytes: a value that is too long is cut and
/// "truncated":true follows.
void encode_record(const Json& record, std::string& out);

}  // namespace trainctl::host
