// SPDX-License-Identifier: Apache-2.0
#include "host/mlflow/views.hpp"

#include <cmath>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "format/metric.hpp"
#include "host/metrics/patterns.hpp"
#include "host/mlflow/api.hpp"
#include "host/mlflow/tracking.hpp"

namespace trainctl::host {
namespace {

Json key_values(const std::map<std::string, std::string>& values) {
  Json list = Json::array();
  for (const auto& [key, value] : values) list.push_back({{"key", key}, {"value", value}});
  return list;
}

std::string artifact_uri(const std::string& below) {
  return std::string("mlflow-artifacts:/") + kExperimentId + "/" + below + "/artifacts";
}

}  // namespace

Json view_experiment(const Tracking& tracking) {
  return {{"experiment_id", kExperimentId},
          {"name", tracking.experiment()},
          {"artifact_location", std::string("mlflow-artifacts:/") + kExperimentId},
          {"lifecycle_stage", "active"},
          {"tags", Json::array()}};
}

Json view_run_info(const TrackedRun& run) {
  Json info = {{"run_id", run.id},
               {"run_uuid", run.id},
               {"run_name", run.name},
               {"experiment_id", kExperimentId},
               {"user_id", "trainctl"},
               {"status", run.status},
               {"start_time", run.started_ms},
               {"artifact_uri", artifact_uri(run.id)},
               {"lifecycle_stage", run.deleted ? "deleted" : "active"}};
  if (run.ended_ms != 0) info["end_time"] = run.ended_ms;
  return info;
}

Json view_metric(const std::string& key, const format::MetricPoint& point) {
  Json value = point.value;
  if (std::isnan(point.value)) value = "NaN";
  if (std::isinf(point.value)) value = point.value > 0 ? "Infinity" : "-Infinity";
  return {{"key", key}, {"value", value}, {"timestamp", milliseconds_of(point.t)}, {"step", point.step.value_or(0)}};
}

Json view_run(const Tracking& tracking, const TrackedRun& run) {
  Json metrics = Json::array();
  for (const auto& [key, point] : run.metrics) metrics.push_back(view_metric(key, point));
  auto tags = run.tags;
  tags.try_emplace("mlflow.runName", run.name);
  if (!run.parent.empty()) tags.try_emplace("mlflow.parentRunId", run.parent);
  Json outputs = Json::array();
  for (const auto& [id, model] : tracking.models())
    if (model.run == run.id) outputs.push_back({{"model_id", id}, {"step", 0}});
  return {{"info", view_run_info(run)},
          {"data", {{"metrics", metrics}, {"params", key_values(run.params)}, {"tags", key_values(tags)}}},
          {"inputs", {{"dataset_inputs", Json::array()}}},
          {"outputs", {{"model_outputs", outputs}}}};
}

Json view_model(const TrackedModel& model) {
  return {{"info",
           {{"model_id", model.id},
            {"experiment_id", kExperimentId},
            {"name", model.name},
            {"creation_timestamp_ms", model.created_ms},
            {"last_updated_timestamp_ms", model.created_ms},
            {"artifact_uri", artifact_uri("models/" + model.id)},
            {"status", model.status},
            {"source_run_id", model.run},
            {"tags", key_values(model.tags)}}},
          {"data", {{"params", key_values(model.params)}, {"metrics", Json::array()}}}};
}

std::string json_text(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return {};
  if (found->is_string()) return found->get<std::string>();
  if (found->is_number() || found->is_boolean()) return found->dump();
  return {};
}

std::optional<std::int64_t> json_integer(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return std::nullopt;
  if (found->is_number_integer()) return found->get<std::int64_t>();
  const auto number = json_number(object, key);
  if (!number || !(std::fabs(*number) < 9e18)) return std::nullopt;
  return static_cast<std::int64_t>(*number);
}

std::optional<double> json_number(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return std::nullopt;
  if (found->is_number()) return found->get<double>();
  if (!found->is_string()) return std::nullopt;
  return parse_captured_number(found->get_ref<const std::string&>());
}

std::int64_t milliseconds_of(base::WallTime time) {
  return time.time_since_epoch().count() / 1000;
}

}  // namespace trainctl::host
