// SPDX-License-Identifier: Apache-2.0
// MLflow's JSON: entities as its clients expect them, members as its clients send them.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "host/mlflow/tracking.hpp"

namespace trainctl::host {

Json view_experiment(const Tracking& tracking);
Json view_run_info(const TrackedRun& run);
Json view_run(const Tracking& tracking, const TrackedRun& run);
Json view_metric(const std::string& key, const format::MetricPoint& point);
Json view_model(const TrackedModel& model);

/// Text; a number as text; else "".
std::string json_text(const Json& object, const char* key);
/// A whole number, also as text (protobuf's JSON writes int64 so) or as a float.
std::optional<std::int64_t> json_integer(const Json& object, const char* key);
/// A number, also "NaN", "Infinity", "-Infinity" or digits as text.
std::optional<double> json_number(const Json& object, const char* key);

std::int64_t milliseconds_of(base::WallTime time);

}  // namespace trainctl::host
