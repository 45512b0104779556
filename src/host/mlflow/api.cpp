// SPDX-License-Identifier: Apache-2.0
#include "host/mlflow/api.hpp"

#include <stdint.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "format/metric.hpp"
#include "host/mlflow/search.hpp"
#include "host/mlflow/tracking.hpp"
#include "host/mlflow/views.hpp"

namespace trainctl::host {
namespace {

/// One call: what is known, the members of the request, and the answer that is being made.
struct Call {
  const Tracking& tracking;
  const ApiContext& context;
  const ApiRequest& request;
  Json in = Json::object();
  std::string id = {};  ///< the variable part of the path
  ApiAnswer out = {};
  std::map<std::string, std::vector<format::MetricPoint>> histories = {};  ///< what was read of them

  [[nodiscard]] std::string text(const char* key) const { return json_text(in, key); }

  [[nodiscard]] std::string run_id() const {
    const std::string id_given = text("run_id");
    return id_given.empty() ? text("run_uuid") : id_given;
  }
  void answer(const Json& body) { out.body = base::dump_json(body); }
  void fail(int status, std::string_view code, const std::string& message) { out = api_error(status, code, message); }

  /// The run that is meant; null, and the answer is made, when there is none.
  const TrackedRun* run() {
    const TrackedRun* found = tracking.find_run(run_id());
    if (found == nullptr) fail(404, "RESOURCE_DOES_NOT_EXIST", "Run with id=" + run_id() + " not found");
    return found;
  }
  const TrackedModel* model() {
    const TrackedModel* found = tracking.find_model(id);
    if (found == nullptr) fail(404, "RESOURCE_DOES_NOT_EXIST", "Logged model with ID '" + id + "' not found");
    return found;
  }

  [[nodiscard]] Json record(const char* type, const std::string& name) const {
    const auto micros = context.now.time_since_epoch().count();
    return {{"type", type}, {"t", static_cast<double>(micros) / 1e6}, {"name", name}};
  }
  void set(const char* type, const TrackedRun& run, const Json& item) {
    const std::string key = json_text(item, "key");
    if (key.empty()) return;
    Json line = record(type, run.prefix + key);
    line["value"] = json_text(item, "value");
    line["rank"] = 0;
    if (!run.prefix.empty()) line["run"] = run.id;
    out.records.push_back(std::move(line));
  }
  void add_point(const TrackedRun& run, const Json& item) {
    const std::string key = json_text(item, "key");
    const auto value = json_number(item, "value");
    if (key.empty() || !value)
      return fail(400, "INVALID_PARAMETER_VALUE", "a metric needs a key and a number as value");
    format::MetricPoint point;
    const auto stamp = json_integer(item, "timestamp");
    point.t = stamp && *stamp > 0 && *stamp < INT64_C(9'000'000'000'000)
                  ? base::WallTime(std::chrono::milliseconds(*stamp))
                  : context.now;
    point.step = json_integer(item, "step").value_or(0);
    point.name = run.prefix + key;
    point.value = *value;
    if (!json_text(item, "model_id").empty() && is_known(run, key, point)) return;
    out.points.push_back(std::move(point));
  }

  /// log_model of MLflow 3 says values of the run once more, to link them to the model.
  bool is_known(const TrackedRun& run, const std::string& key, const format::MetricPoint& point) {
    const auto last = run.metrics.find(key);
    if (last == run.metrics.end() || last->second.t < point.t || !context.history) return false;
    auto found = histories.find(point.name);
    if (found == histories.end()) found = histories.emplace(point.name, context.history(point.name)).first;
    return std::any_of(found->second.begin(), found->second.end(), [&](const format::MetricPoint& known) {
      const bool same = known.value == point.value || (std::isnan(known.value) && std::isnan(point.value));
      return same && known.t == point.t && known.step == point.step;
    });
  }
};

/// The objects in a member that is an array.
std::vector<Json> items(const Json& in, const char* key) {
  std::vector<Json> found;
  const auto list = in.find(key);
  if (list == in.end() || !list->is_array()) return found;
  for (const Json& item : *list)
    if (item.is_object()) found.push_back(item);
  return found;
}

void get_experiment(Call& call) {
  call.answer({{"experiment", view_experiment(call.tracking)}});
}

void create_experiment(Call& call) {
  call.answer({{"experiment_id", kExperimentId}});
}

void search_experiments(Call& call) {
  call.answer({{"experiments", Json::array({view_experiment(call.tracking)})}});
}

void create_run(Call& call) {
  std::string parent;
  std::string name = call.text("run_name");
  for (const Json& tag : items(call.in, "tags")) {
    if (json_text(tag, "key") == "mlflow.parentRunId") parent = json_text(tag, "value");
    if (json_text(tag, "key") == "mlflow.runName" && name.empty()) name = json_text(tag, "value");
  }
  TrackedRun run;
  run.id = call.context.fresh_id;
  run.prefix = call.tracking.free_prefix(parent, name);
  run.name = name.empty() ? run.prefix.substr(0, run.prefix.size() - 1) : name;
  run.parent = parent;
  run.started_ms = json_integer(call.in, "start_time").value_or(milliseconds_of(call.context.now));
  Json line = call.record("run", run.prefix.substr(0, run.prefix.size() - 1));
  line["title"] = run.name;
  line["run"] = run.id;
  line["parent"] = parent;
  line["status"] = "RUNNING";
  call.out.records.push_back(std::move(line));
  for (const Json& tag : items(call.in, "tags")) {
    call.set("tag", run, tag);
    run.tags[json_text(tag, "key")] = json_text(tag, "value");
  }
  call.answer({{"run", view_run(call.tracking, run)}});
}

void get_run(Call& call) {
  if (const TrackedRun* run = call.run()) call.answer({{"run", view_run(call.tracking, *run)}});
}

void update_run(Call& call) {
  const TrackedRun* found = call.run();
  if (found == nullptr) return;
  TrackedRun run = *found;
  Json line = call.record("run", run.prefix.empty() ? "" : run.prefix.substr(0, run.prefix.size() - 1));
  line["run"] = run.id;
  if (const std::string status = call.text("status"); !status.empty()) {
    // Only what MLflow calls the run: how it ended is decided by the exit code of its process.
    line["status"] = run.status = status;
    run.ended_ms = status == "RUNNING" ? 0 : milliseconds_of(call.context.now);
  }
  if (const std::string name = call.text("run_name"); !name.empty()) line["title"] = run.name = name;
  call.out.records.push_back(std::move(line));
  call.answer({{"run_info", view_run_info(run)}});
}

void delete_run(Call& call, bool deleted) {
  const TrackedRun* run = call.run();
  if (run == nullptr) return;
  Json line = call.record("run", run->prefix);
  line["run"] = run->id;
  line["deleted"] = deleted;
  call.out.records.push_back(std::move(line));
}

void log_metric(Call& call) {
  if (const TrackedRun* run = call.run()) call.add_point(*run, call.in);
}

void log_parameter(Call& call) {
  if (const TrackedRun* run = call.run()) call.set("param", *run, call.in);
}

void set_tag(Call& call) {
  if (const TrackedRun* run = call.run()) call.set("tag", *run, call.in);
}

void delete_tag(Call& call) {
  const TrackedRun* run = call.run();
  if (run == nullptr) return;
  Json line = call.record("tag", run->prefix + call.text("key"));
  line["value"] = nullptr;
  if (!run->prefix.empty()) line["run"] = run->id;
  call.out.records.push_back(std::move(line));
}

void log_batch(Call& call) {
  const TrackedRun* run = call.run();
  if (run == nullptr) return;
  for (const Json& param : items(call.in, "params")) call.set("param", *run, param);
  for (const Json& tag : items(call.in, "tags")) call.set("tag", *run, tag);
  for (const Json& metric : items(call.in, "metrics")) {
    call.add_point(*run, metric);
    if (call.out.status != 200) return;
  }
}

void log_inputs(Call& call) {
  const TrackedRun* run = call.run();
  if (run == nullptr) return;
  for (const Json& input : items(call.in, "datasets")) {
    const auto dataset = input.find("dataset");
    if (dataset == input.end() || !dataset->is_object()) continue;
    Json line = call.record("input", run->prefix + json_text(*dataset, "name"));
    line["value"] = json_text(*dataset, "source");
    line["digest"] = json_text(*dataset, "digest");
    call.out.records.push_back(std::move(line));
  }
}

void get_history(Call& call) {
  const TrackedRun* run = call.run();
  if (run == nullptr) return;
  Json metrics = Json::array();
  const std::string key = call.text("metric_key");
  if (call.context.history)
    for (const format::MetricPoint& point : call.context.history(run->prefix + key))
      metrics.push_back(view_metric(key, point));
  call.answer({{"metrics", std::move(metrics)}});
}

void search_runs(Call& call) {
  const auto filter = RunFilter::parse(call.text("filter"));
  if (!filter) return call.fail(400, "INVALID_PARAMETER_VALUE", filter.error().message);
  Json runs = Json::array();
  const std::string view = call.text("run_view_type");
  for (const auto& [id, run] : call.tracking.runs()) {
    if (view != "ALL" && run.deleted != (view == "DELETED_ONLY")) continue;
    if (filter->matches(run)) runs.push_back(view_run(call.tracking, run));
  }
  call.answer({{"runs", std::move(runs)}});
}

void create_model(Call& call) {
  TrackedModel model;
  model.id = "m-" + call.context.fresh_id;
  model.name = call.text("name");
  model.folder = call.tracking.free_folder(model.name);
  model.run = call.text("source_run_id");
  model.created_ms = milliseconds_of(call.context.now);
  Json line = call.record("model", model.folder);
  line["title"] = model.name;
  line["model"] = model.id;
  line["run"] = model.run;
  line["status"] = model.status;
  for (const auto& [key, into] : {std::pair{"params", &model.params}, std::pair{"tags", &model.tags}}) {
    line[key] = Json::object();
    for (const Json& item : items(call.in, key))
      line[key][json_text(item, "key")] = (*into)[json_text(item, "key")] = json_text(item, "value");
  }
  call.out.records.push_back(std::move(line));
  call.answer({{"model", view_model(model)}});
}

void get_model(Call& call) {
  if (const TrackedModel* model = call.model()) call.answer({{"model", view_model(*model)}});
}

void update_model(Call& call) {
  const TrackedModel* found = call.model();
  if (found == nullptr) return;
  TrackedModel model = *found;
  Json line = call.record("model", model.folder);
  line["model"] = model.id;
  if (const std::string status = call.text("status"); !status.empty()) line["status"] = model.status = status;
  for (const auto& [key, into] : {std::pair{"params", &model.params}, std::pair{"tags", &model.tags}})
    for (const Json& item : items(call.in, key))
      line[key][json_text(item, "key")] = (*into)[json_text(item, "key")] = json_text(item, "value");
  call.out.records.push_back(std::move(line));
  call.answer({{"model", view_model(model)}});
}

void search_models(Call& call) {
  Json models = Json::array();
  for (const auto& [id, model] : call.tracking.models()) models.push_back(view_model(model));
  call.answer({{"models", std::move(models)}});
}

/// log_model(registered_model_name=…): there is no registry here; the name is kept as a tag of the run.
void register_model(Call& call) {
  const std::string name = call.text("name");
  if (const TrackedRun* run = call.tracking.find_run(call.tracking.main_run()))
    call.set("tag", *run, {{"key", "mlflow.registeredModel"}, {"value", name}});
  call.answer({{"registered_model", {{"name", name}}},
               {"model_version",
                {{"name", name},
                 {"version", "1"},
                 {"status", "READY"},
                 {"source", call.text("source")},
                 {"run_id", call.text("run_id")}}}});
}

void accept(Call&) {}  // nothing of it is recorded

using Handler = void (*)(Call&);
struct Route {
  std::string_view method;
  std::string_view path;  ///< behind /api/2.0/mlflow/; "*" stands for one part, "**" for all that follows
  Handler handler;
};

constexpr Route kRoutes[] = {
    {"GET", "experiments/get-by-name", get_experiment},
    {"GET", "experiments/get", get_experiment},
    {"POST", "experiments/create", create_experiment},
    {"POST", "experiments/search", search_experiments},
    {"GET", "experiments/search", search_experiments},
    {"POST", "experiments/set-experiment-tag", accept},
    {"POST", "experiments/update", accept},
    {"POST", "runs/create", create_run},
    {"GET", "runs/get", get_run},
    {"POST", "runs/update", update_run},
    {"POST", "runs/delete", [](Call& call) { delete_run(call, true); }},
    {"POST", "runs/restore", [](Call& call) { delete_run(call, false); }},
    {"POST", "runs/search", search_runs},
    {"POST", "runs/log-metric", log_metric},
    {"POST", "runs/log-batch", log_batch},
    {"POST", "runs/log-parameter", log_parameter},
    {"POST", "runs/set-tag", set_tag},
    {"POST", "runs/delete-tag", delete_tag},
    {"POST", "runs/log-inputs", log_inputs},
    {"POST", "runs/log-model", accept},
    {"POST", "runs/outputs", accept},
    {"GET", "metrics/get-history", get_history},
    {"POST", "logged-models", create_model},
    {"POST", "logged-models/search", search_models},
    {"GET", "logged-models/*", get_model},
    {"PATCH", "logged-models/*", update_model},
    {"POST", "logged-models/*/params", update_model},
    {"PATCH", "logged-models/*/tags", update_model},
    {"POST", "registered-models/create", register_model},
    {"POST", "model-versions/create", register_model},
    {"POST", "traces", accept},
    {"POST", "traces/**", accept},
    {"PATCH", "traces/**", accept},
};

bool route_fits(std::string_view pattern, std::string_view path, std::string& id) {
  while (!pattern.empty()) {
    if (pattern == "**") return !path.empty();
    const auto part = pattern.substr(0, pattern.find('/'));
    const auto word = path.substr(0, path.find('/'));
    if (part == "*" ? word.empty() : part != word) return false;
    if (part == "*") id = word;
    pattern.remove_prefix(std::min(pattern.size(), part.size() + 1));
    const bool more = path.size() > word.size();
    path.remove_prefix(std::min(path.size(), word.size() + 1));
    if (pattern.empty()) return !more;
  }
  return path.empty();
}

/// What stands behind the API's prefix, in any of the versions.
std::optional<std::string_view> behind_prefix(std::string_view path) {
  for (const std::string_view prefix : {"/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/", "/api/3.0/mlflow/"})
    if (path.starts_with(prefix)) return path.substr(prefix.size());
  return std::nullopt;
}

bool read_members(Call& call) {
  if (call.request.method == "GET") {
    for (const auto& [name, value] : call.request.query) call.in[name] = value;
    return true;
  }
  if (call.request.body.empty()) return true;
  auto parsed = base::parse_json(call.request.body);
  if (!parsed || !parsed->is_object()) return false;
  call.in = std::move(*parsed);
  return true;
}

}  // namespace

ApiAnswer api_error(int status, std::string_view code, const std::string& message) {
  ApiAnswer answer;
  answer.status = status;
  answer.body = base::dump_json({{"error_code", code}, {"message", message}});
  return answer;
}

ApiAnswer answer_mlflow(const Tracking& tracking, const ApiRequest& request, const ApiContext& context) {
  Call call{.tracking = tracking, .context = context, .request = request};
  if (request.path == "/health" || request.path == "/version") {
    call.out.type = "text/plain";
    call.out.body = request.path == "/health" ? "OK" : "3.0.0";
    return call.out;
  }
  if (request.path == "/v1/traces") return call.out;
  const auto path = behind_prefix(request.path);
  if (path && !read_members(call)) return api_error(400, "BAD_REQUEST", "the body is not a JSON object");
  for (const Route& route : kRoutes) {
    if (!path || route.method != request.method || !route_fits(route.path, *path, call.id)) continue;
    route.handler(call);
    return call.out;
  }
  return api_error(404, "ENDPOINT_NOT_FOUND",
                   "trainctl's tracking endpoint has no " + request.method + " " + base::to_utf8(request.path));
}

std::string artifact_path(const Tracking& tracking, std::string_view path) {
  std::vector<std::string> parts = base::split(path, '/');
  std::erase(parts, "");
  for (const std::string& part : parts)
    if (part == "." || part == ".." || part.find('\0') != std::string::npos || part.size() > 255) return {};
  // <experiment>/<run>/artifacts/… and <experiment>/models/<model>/artifacts/…
  std::string folder;
  std::size_t skip = 3;
  if (parts.size() >= 4 && parts[1] == "models") {
    const TrackedModel* model = tracking.find_model(parts[2]);
    if (model == nullptr || parts[3] != "artifacts") return {};
    folder = model->folder + "/";
    skip = 4;
  } else if (parts.size() >= 3 && parts[2] == "artifacts") {
    const TrackedRun* run = tracking.find_run(parts[1]);
    if (run == nullptr) return {};
    folder = run->prefix;
  } else {
    return {};
  }
  parts.erase(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(skip));
  const std::string whole = folder + base::join(parts, "/");
  return whole.empty() ? "." : whole;
}

}  // namespace trainctl::host
