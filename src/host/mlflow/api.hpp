// SPDX-License-Identifier: Apache-2.0
// MLflow's tracking REST API 2.0 (https://mlflow.org/docs/latest/rest-api.html) as the Python clients 2.x and 3.x use
// it. Handlers are pure: they look at what is known and say what to answer and what to record.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "format/metric.hpp"
#include "host/mlflow/tracking.hpp"

namespace trainctl::host {

inline constexpr std::size_t kMaxApiBody = std::size_t{1} << 20U;
inline constexpr const char* kExperimentId = "1";  ///< of the one experiment there is

struct ApiRequest {
  std::string method = {};
  std::string path = {};                          ///< decoded
  std::map<std::string, std::string> query = {};  ///< decoded
  std::string body = {};
};

struct ApiAnswer {
  int status = 200;
  std::string type = "application/json";
  std::string body = "{}";
  std::vector<format::MetricPoint> points = {};  ///< to be recorded, with their full names
  std::vector<Json> records = {};                ///< likewise; lines of the metrics file (docs/metrics.md)
};

struct ApiContext {
  base::WallTime now = {};
  std::string fresh_id = {};  ///< 32 hex digits that were never used
  /// All points of a metric by its full name, for metrics/get-history. May be empty.
  std::function<std::vector<format::MetricPoint>(const std::string& name)> history = {};
};

ApiAnswer answer_mlflow(const Tracking& tracking, const ApiRequest& request, const ApiContext& context);

/// What a path below /api/2.0/mlflow-artifacts/artifacts means: the file or folder below the outputs. Empty when it
/// leaves them or names a run or model that is not there.
std::string artifact_path(const Tracking& tracking, std::string_view path);

/// The error body of the API.
ApiAnswer api_error(int status, std::string_view code, const std::string& message);

}  // namespace trainctl::host
