// SPDX-License-Identifier: Apache-2.0
#include "format/plan.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::format {
namespace {

using Milliseconds = std::chrono::milliseconds;

constexpr std::array<std::string_view, 4> kKinds = {"python_script", "python_module", "exec", "shell"};

Json optional_ms(const std::optional<Milliseconds>& value) {
  return value ? Json(value->count()) : Json(nullptr);
}

template <class T>
Json optional_value(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::optional<Milliseconds> read_ms(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return std::nullopt;
  return Milliseconds(found->get<std::int64_t>());
}

template <class T>
std::optional<T> read_optional(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return std::nullopt;
  return found->get<T>();
}

Json member(const Json& json, const char* key, const Json& fallback = Json::object()) {
  const auto found = json.find(key);
  return found == json.end() ? fallback : *found;
}

PlanCommand read_command(const Json& json) {
  PlanCommand command;
  const auto kind = json.at("kind").get<std::string>();
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    if (kKinds.at(i) == kind) command.kind = static_cast<CommandKind>(i);
  }
  command.argv = json.at("argv").get<std::vector<std::string>>();
  command.shell = json.value("shell", "bash");
  return command;
}

void read_data(const Json& json, Plan& plan) {
  const Json inputs = member(json, "inputs");  // named: a loop over items() does not keep a temporary alive
  for (const auto& item : inputs.items()) {
    plan.inputs.push_back({item.key(), item.value().at("path").get<std::string>(), item.value().value("mode", "link")});
  }
  const Json outputs = member(json, "outputs");  // named: a loop over items() does not keep a temporary alive
  for (const auto& item : outputs.items()) {
    plan.outputs.push_back(
        {item.key(), item.value().at("path").get<std::string>(), item.value().value("register_model", "")});
  }
  plan.keep = member(json, "keep", Json::array()).get<std::vector<std::string>>();
  const Json variables = member(json, "variables");  // named: a loop over items() does not keep a temporary alive
  for (const auto& item : variables.items()) plan.variables.emplace_back(item.key(), item.value().get<std::string>());
  plan.secrets = member(json, "secrets", Json::array()).get<std::vector<std::string>>();
}

Json to_json(const std::optional<PlanDistribution>& distribution) {
  if (!distribution) return nullptr;
  Json json = {{"type", distribution->type}};
  if (!distribution->backend.empty()) json["backend"] = distribution->backend;
  if (distribution->type != "tensorflow") return json;
  json["chief"] = distribution->chief;
  json["workers"] = distribution->workers;
  json["parameter_servers"] = distribution->parameter_servers;
  json["evaluator"] = distribution->evaluator;
  return json;
}

Json to_json(const std::optional<PlanContainer>& container) {
  if (!container) return nullptr;
  return {{"image", container->image},
          {"dockerfile", container->dockerfile},
          {"context", container->context},
          {"engine", container->engine},
          {"arguments", container->arguments},
          {"volumes", container->volumes},
          {"shm_size", optional_value(container->shm_size)},
          {"gpus", container->gpus},
          {"python", container->python},
          {"registry",
           {{"address", container->registry},
            {"username", container->registry_user},
            {"password_secret", container->registry_secret}}}};
}

void read_container(const Json& json, Plan& plan) {
  const Json found = member(json, "container", nullptr);
  if (!found.is_object()) return;
  PlanContainer& container = plan.container.emplace();
  container.image = found.value("image", "");
  container.dockerfile = found.value("dockerfile", "");
  container.context = found.value("context", "");
  container.engine = found.value("engine", "");
  container.arguments = member(found, "arguments", Json::array()).get<std::vector<std::string>>();
  container.volumes = member(found, "volumes", Json::array()).get<std::vector<std::string>>();
  container.shm_size = read_optional<std::uint64_t>(found, "shm_size");
  container.gpus = found.value("gpus", false);
  container.python = found.value("python", container.python);
  const Json registry = member(found, "registry");
  container.registry = registry.value("address", "");
  container.registry_user = registry.value("username", "");
  container.registry_secret = registry.value("password_secret", "");
}

Json to_json(const std::optional<PlanResume>& resume) {
  if (!resume) return nullptr;
  return {{"path", resume->path}, {"run", resume->run.empty() ? Json(nullptr) : Json(resume->run)}};
}

void read_distribution(const Json& json, Plan& plan) {
  plan.processes_per_node = json.value("processes_per_node", 1);
  if (const Json found = member(json, "distribution", nullptr); found.is_object()) {
    plan.distribution = PlanDistribution{.type = found.at("type").get<std::string>(),
                                         .backend = found.value("backend", ""),
                                         .workers = found.value("workers", 0),
                                         .parameter_servers = found.value("parameter_servers", 0),
                                         .chief = found.value("chief", false),
                                         .evaluator = found.value("evaluator", false)};
  }
  if (const Json found = member(json, "resume_from", nullptr); found.is_object()) {
    const auto run = read_optional<std::string>(found, "run");
    plan.resume_from = PlanResume{found.at("path").get<std::string>(), run.value_or("")};
  }
}

void read_rules(const Json& json, Plan& plan) {
  const Json resources = member(json, "resources");
  plan.resources = {resources.value("nodes", 1), read_optional<double>(resources, "cpus"),
                    read_optional<std::uint64_t>(resources, "memory"), read_optional<int>(resources, "gpus")};
  read_distribution(json, plan);
  const Json limits = member(json, "limits");
  plan.limits = {read_ms(limits, "timeout_ms"), read_ms(limits, "queue_timeout_ms"),
                 read_ms(limits, "start_timeout_ms"), read_ms(limits, "idle_ms")};
  const Json retry = member(json, "retry");
  plan.retry.max = retry.value("max", 0);
  plan.retry.on = member(retry, "on", Json::array()).get<std::vector<std::string>>();
  plan.retry.backoff = read_ms(retry, "backoff_ms").value_or(plan.retry.backoff);
  plan.retry.resume = retry.value("resume", false);
  const Json stop = member(json, "stop");
  plan.stop.signal = stop.value("signal", plan.stop.signal);
  plan.stop.grace = read_ms(stop, "grace_ms").value_or(plan.stop.grace);
  plan.stop.warn = read_ms(stop, "warn_ms");
  plan.stop.warn_signal = stop.value("warn_signal", plan.stop.warn_signal);
  const Json metrics = member(json, "metrics");
  plan.metrics.primary = metrics.value("primary", "");
  plan.metrics.goal = metrics.value("goal", "");
  plan.metrics.patterns = member(metrics, "patterns", Json::array()).get<std::vector<std::string>>();
  plan.metrics.without = member(metrics, "without", Json::array()).get<std::vector<std::string>>();
  plan.metrics.system = metrics.value("system", true);
  plan.metrics.interval = read_ms(metrics, "interval_ms").value_or(plan.metrics.interval);
  plan.logs_via = json.value("logs_via", "file");
}

Plan read_all(const Json& json) {
  Plan plan;
  plan.format = json.at("format").get<int>();
  plan.id = json.at("id").get<std::string>();
  plan.name = json.at("name").get<std::string>();
  plan.experiment = json.value("experiment", "");
  plan.created = json.value("created", "");
  plan.priority = json.value("priority", 0);
  if (json.contains("target") && json["target"].is_object()) plan.target = json["target"];
  plan.who = member(json, "who");
  plan.spec = member(json, "spec");
  plan.estimator = member(json, "estimator", nullptr);
  plan.origins = member(json, "origins");
  plan.source = member(json, "source");
  plan.parameters = member(json, "parameters");
  plan.tags = member(json, "tags");
  plan.command = read_command(json.at("command"));
  plan.working_directory = json.value("working_directory", ".");
  plan.environment = member(json, "environment", nullptr);
  read_data(json, plan);
  read_rules(json, plan);
  read_container(json, plan);
  return plan;
}

}  // namespace

Json to_json(const Plan& plan) {
  Json inputs = Json::object();
  for (const PlanInput& input : plan.inputs) inputs[input.name] = {{"path", input.path}, {"mode", input.mode}};
  Json outputs = Json::object();
  for (const PlanOutput& output : plan.outputs) {
    outputs[output.name] = {{"path", output.path}};
    if (!output.register_model.empty()) outputs[output.name]["register_model"] = output.register_model;
  }
  Json variables = Json::object();
  for (const auto& [key, value] : plan.variables) variables[key] = value;
  return {{"format", plan.format},
          {"id", plan.id},
          {"name", plan.name},
          {"experiment", plan.experiment},
          {"created", plan.created},
          {"priority", plan.priority},
          {"target", plan.target},
          {"who", plan.who},
          {"spec", plan.spec},
          {"estimator", plan.estimator},
          {"origins", plan.origins},
          {"source", plan.source},
          {"parameters", plan.parameters},
          {"tags", plan.tags},
          {"command",
           {{"kind", kKinds.at(static_cast<std::size_t>(plan.command.kind))},
            {"argv", plan.command.argv},
            {"shell", plan.command.shell}}},
          {"working_directory", plan.working_directory},
          {"environment", plan.environment},
          {"variables", variables},
          {"secrets", plan.secrets},
          {"inputs", inputs},
          {"outputs", outputs},
          {"keep", plan.keep},
          {"resources",
           {{"nodes", plan.resources.nodes},
            {"cpus", optional_value(plan.resources.cpus)},
            {"memory", optional_value(plan.resources.memory)},
            {"gpus", optional_value(plan.resources.gpus)}}},
          {"processes_per_node", plan.processes_per_node},
          {"distribution", to_json(plan.distribution)},
          {"resume_from", to_json(plan.resume_from)},
          {"container", to_json(plan.container)},
          {"limits",
           {{"timeout_ms", optional_ms(plan.limits.timeout)},
            {"queue_timeout_ms", optional_ms(plan.limits.queue_timeout)},
            {"start_timeout_ms", optional_ms(plan.limits.start_timeout)},
            {"idle_ms", optional_ms(plan.limits.idle)}}},
          {"retry",
           {{"max", plan.retry.max},
            {"on", plan.retry.on},
            {"backoff_ms", plan.retry.backoff.count()},
            {"resume", plan.retry.resume}}},
          {"stop",
           {{"signal", plan.stop.signal},
            {"grace_ms", plan.stop.grace.count()},
            {"warn_ms", optional_ms(plan.stop.warn)},
            {"warn_signal", plan.stop.warn_signal}}},
          {"metrics",
           {{"primary", plan.metrics.primary},
            {"goal", plan.metrics.goal},
            {"patterns", plan.metrics.patterns},
            {"without", plan.metrics.without},
            {"system", plan.metrics.system},
            {"interval_ms", plan.metrics.interval.count()}}},
          {"logs_via", plan.logs_via}};
}

Result<Plan> plan_from_json(const Json& json) {
  const auto format = json.is_object() ? json.find("format") : json.end();
  if (format == json.end() || !format->is_number_integer()) return fail(Errc::store, "plan.json has no format number");
  if (format->get<int>() > kPlanFormat) {
    return fail(Errc::store,
                "plan.json has format " + std::to_string(format->get<int>()) + ", this program knows up to " +
                    std::to_string(kPlanFormat),
                "upgrade trainctl");
  }
  try {
    return read_all(json);
  } catch (const std::exception& problem) {
    return fail(Errc::store, std::string("plan.json is damaged: ") + problem.what());
  }
}

void resolve_store_mark(Plan& plan, const std::filesystem::path& store) {
  const auto fill = [&store](std::string& text) {
    const std::string& root = store.native();
    for (std::size_t at = text.find(kStoreMark); at != std::string::npos; at = text.find(kStoreMark, at + root.size()))
      text.replace(at, kStoreMark.size(), root);
  };
  for (std::string& word : plan.command.argv) fill(word);
  for (auto& [name, value] : plan.variables) fill(value);
  for (PlanInput& input : plan.inputs) fill(input.path);
  if (plan.resume_from) fill(plan.resume_from->path);
  if (!plan.container) return;
  fill(plan.container->context);
  fill(plan.container->dockerfile);
  for (std::string& volume : plan.container->volumes) fill(volume);
}

std::set<std::string> needed_digests(const Plan& plan) {
  std::set<std::string> digests;
  const auto note = [&digests](std::string_view path) {
    const std::string sent = std::string(kStoreMark) + "/inputs/";
    if (!path.starts_with(sent)) return;
    path.remove_prefix(sent.size());
    digests.emplace(path.substr(0, path.find('/')));
  };
  if (const std::string digest = plan.source.value("digest", ""); !digest.empty()) digests.insert(digest);
  for (const PlanInput& input : plan.inputs) note(input.path);
  if (plan.resume_from) note(plan.resume_from->path);
  if (plan.container) {
    note(plan.container->context);
    note(plan.container->dockerfile);
    for (const std::string& volume : plan.container->volumes) note(volume);
  }
  return digests;
}

Result<Plan> read_plan(const std::filesystem::path& path) {
  TRY_ASSIGN(const std::string text, base::read_file(path, base::kMaxJsonBytes));
  TRY_ASSIGN(const Json json, base::parse_json(text));
  auto plan = plan_from_json(json);
  if (!plan) return fail(std::move(plan).error().with_context("read " + path.string()));
  return plan;
}

}  // namespace trainctl::format
