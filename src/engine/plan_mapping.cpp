// SPDX-License-Identifier: Apache-2.0
#include "engine/plan_mapping.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.hpp"
#include "base/process.hpp"
#include "engine/inputs.hpp"
#include "format/goal.hpp"
#include "format/plan.hpp"
#include "host/environment/request.hpp"
#include "spec/expand.hpp"
#include "spec/layer.hpp"
#include "spec/load.hpp"
#include "spec/references.hpp"
#include "spec/run_configuration.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
namespace {

namespace fs = std::filesystem;

Json scalar_json(const spec::Scalar& scalar) {
  return std::visit([](const auto& value) { return Json(value); }, scalar);
}

bool runs_with_python(const fs::path& script) {
  const std::string extension = script.extension().string();
  return extension == ".py" || extension == ".pyc" || extension == ".pyz";
}

format::PlanCommand map_command(const spec::RunConfiguration& config, const spec::ExpandedRun& expanded) {
  format::PlanCommand command;
  command.shell = config.shell == spec::Shell::bash ? "bash" : "sh";
  if (config.script) {
    const bool python = runs_with_python(*config.script);
    command.kind = python ? format::CommandKind::python_script : format::CommandKind::exec;
    // A script lies in the source directory, never on PATH.
    command.argv = {python || config.script->find('/') != std::string::npos ? *config.script : "./" + *config.script};
  } else if (config.module) {
    command.kind = format::CommandKind::python_module;
    command.argv = {*config.module};
  } else if (!expanded.shell_text.empty()) {
    command.kind = format::CommandKind::shell;
    command.argv = {expanded.shell_text};
  }
  command.argv.insert(command.argv.end(), expanded.words.begin(), expanded.words.end());
  return command;
}

spec::ValueMap submitter_variables() {
  spec::ValueMap variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const auto equals = text.find('=');
    if (equals != std::string_view::npos) variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

void map_data(const spec::LoadedRun& run, format::Plan& plan) {
  for (const spec::Input& input : run.config.inputs) {
    const std::string mode = input.mode == spec::InputMode::copy ? "copy" : "link";
    plan.inputs.push_back({input.name, absolute_path(run.base_directory, input.source), mode});
  }
  for (const spec::Output& output : run.config.outputs) {
    plan.outputs.push_back({output.name, output.path.value_or(output.name), output.register_model.value_or("")});
  }
  plan.keep = run.config.keep;
  for (const spec::Secret& secret : run.config.secrets) plan.secrets.push_back(secret.name);
}

void map_distribution(const spec::RunConfiguration& config, format::Plan& plan) {
  if (!config.distribution) return;
  const spec::Distribution& from = *config.distribution;
  const auto gpus = config.resources.gpus.value_or(0);
  const std::int64_t per_node = from.processes_per_node.value_or(std::max<std::int64_t>(gpus, 1));
  plan.processes_per_node = static_cast<int>(per_node);
  format::PlanDistribution to;
  switch (from.type) {
    case spec::DistributionType::processes:
      to.type = "processes";
      break;
    case spec::DistributionType::pytorch:
      to.type = "pytorch";
      to.backend = from.backend.value_or("");
      break;
    case spec::DistributionType::mpi:
      to.type = "mpi";
      break;
    case spec::DistributionType::tensorflow:
      to.type = "tensorflow";
      to.parameter_servers = static_cast<int>(from.parameter_server_count.value_or(0));
      to.chief = from.chief.value_or(to.parameter_servers > 0);
      to.evaluator = from.evaluator;
      // With parameter servers one worker is the usual size; without them the processes are the workers.
      to.workers = static_cast<int>(from.worker_count.value_or(
          to.parameter_servers > 0 && !from.processes_per_node ? 1 : per_node * config.resources.nodes));
      const std::int64_t ranks = to.workers + to.parameter_servers + int{to.chief} + int{to.evaluator};
      plan.processes_per_node = static_cast<int>((ranks + config.resources.nodes - 1) / config.resources.nodes);
      break;
  }
  plan.distribution = to;
}

/// "data:/data" counts from the file's folder like every other path.
std::string volume(const fs::path& base, const std::string& written) {
  if (written.starts_with("~/")) return written;
  const std::size_t colon = written.find(':');
  return absolute_path(base, written.substr(0, colon)) + written.substr(std::min(colon, written.size()));
}

void map_container(const spec::LoadedRun& run, format::Plan& plan) {
  if (!run.config.environment || !run.config.environment->container) return;
  const spec::ContainerEnvironment& from = *run.config.environment->container;
  format::PlanContainer& to = plan.container.emplace();
  to.image = from.image.value_or("");
  if (from.build) {
    const fs::path file = from.build->dockerfile.value_or((fs::path(from.build->context.value_or(".")) / "Dockerfile"));
    to.dockerfile = absolute_path(run.base_directory, file.string());
    to.context = from.build->context ? absolute_path(run.base_directory, *from.build->context)
                                     : fs::path(to.dockerfile).parent_path().string();
  }
  to.engine = from.engine.value_or("");
  to.arguments = from.arguments;
  for (const std::string& one : from.volumes) to.volumes.push_back(volume(run.base_directory, one));
  if (from.shm_size) to.shm_size = from.shm_size->bytes;
  to.gpus = from.gpus.value_or(run.config.resources.gpus.value_or(0) > 0);
  if (run.config.environment->python) to.python = run.config.environment->python->interpreter.value_or(to.python);
  if (!from.registry) return;
  to.registry = from.registry->address.value_or(to.image.substr(0, to.image.find('/')));
  to.registry_user = from.registry->username.value_or("");
  to.registry_secret = from.registry->password_secret.value_or("");
}

/// As written, else as the name of the primary metric says.
std::string goal_of(const spec::LoadedRun& run) {
  const spec::Metrics& metrics = run.config.metrics;
  if (!metrics.primary) return {};
  const std::string_view guessed = format::guess_goal(*metrics.primary);
  if (!run.origins.contains("/metrics/goal") && !guessed.empty()) return std::string(guessed);
  return metrics.goal == spec::Goal::maximize ? "maximize" : "minimize";
}

/// The names of the sources that are turned off.
std::vector<std::string> sources_without(const spec::MetricSources& sources) {
  std::vector<std::string> names;
  const std::pair<const char*, bool> all[] = {{"mlflow", sources.mlflow},
                                              {"azureml", sources.azureml},
                                              {"tensorboard", sources.tensorboard},
                                              {"chainer", sources.chainer},
                                              {"lightning", sources.lightning}};
  for (const auto& [name, on] : all) {
    if (!on) names.emplace_back(name);
  }
  return names;
}

void map_rules(const spec::LoadedRun& run, format::Plan& plan) {
  const spec::RunConfiguration& config = run.config;
  plan.resources.nodes = static_cast<int>(config.resources.nodes);
  plan.resources.cpus = config.resources.cpus;
  if (config.resources.memory) plan.resources.memory = config.resources.memory->bytes;
  if (config.resources.gpus) plan.resources.gpus = static_cast<int>(*config.resources.gpus);
  map_distribution(config, plan);
  plan.limits = {config.limits.timeout, config.limits.queue_timeout, config.limits.start_timeout, config.limits.idle};
  plan.retry = {static_cast<int>(config.retry.max), config.retry.on, config.retry.backoff, config.retry.resume};
  plan.stop = {config.stop.signal, config.stop.grace, config.stop.warn, config.stop.warn_signal};
  plan.metrics.primary = config.metrics.primary.value_or("");
  plan.metrics.goal = goal_of(run);
  plan.metrics.patterns = config.metrics.patterns;
  plan.metrics.without = sources_without(config.metrics.sources);
  plan.metrics.system = config.metrics.system.enabled;
  plan.metrics.interval = config.metrics.system.interval;
  plan.logs_via = config.logs.via == spec::LogVia::pty    ? "pty"
                  : config.logs.via == spec::LogVia::pipe ? "pipe"
                                                          : "file";
  plan.priority = static_cast<int>(config.priority);
}

}  // namespace

std::string absolute_path(const fs::path& base, const std::string& path) {
  if (path.starts_with(format::kStoreMark)) return path;  // of the target
  const fs::path whole = (fs::path(path).is_absolute() ? fs::path(path) : base / path).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).string();  // "data/" is "data"
}

Json parameter_json(const spec::ParameterValue& value) {
  if (const auto* scalar = std::get_if<spec::Scalar>(&value)) return scalar_json(*scalar);
  Json list = Json::array();
  for (const spec::Scalar& item : std::get<std::vector<spec::Scalar>>(value)) list.push_back(scalar_json(item));
  return list;
}

fs::path source_directory(const spec::LoadedRun& run) {
  const fs::path path = (run.base_directory / run.config.source_directory).lexically_normal();
  return path.has_filename() ? path : path.parent_path();  // "dir/." becomes "dir/" otherwise
}

ResultAll<format::Plan> map_plan(const spec::LoadedRun& run) {
  if (Errors errors = check_inputs(run); !errors.empty()) return tl::make_unexpected(std::move(errors));
  format::Plan plan;
  map_data(run, plan);
  spec::Values values;
  for (const format::PlanInput& input : plan.inputs) {
    values.inputs[input.name] =
        input.is_copied() ? std::string(format::kInputsMark) + "/" + input.copy_path() : input.path;
  }
  for (const format::PlanOutput& output : plan.outputs)
    values.outputs[output.name] = std::string(format::kOutputsMark) + "/" + output.path;
  values.submit_env = submitter_variables();
  auto expanded = spec::expand_run(run.config, values, run.origins);
  if (!expanded) return tl::make_unexpected(std::move(expanded).error());
  plan.command = map_command(run.config, *expanded);
  plan.variables = std::move(expanded->variables);
  plan.experiment = run.config.experiment.value_or("");
  plan.spec = run.merged;
  if (const auto& from = run.lowered_from)
    plan.estimator = {{"framework", from->framework},
                      {"version", from->version},
                      {"preset", from->preset},
                      {"written", from->written}};
  for (const auto& [pointer, origin] : run.origins) plan.origins[pointer] = spec::to_string(origin);
  for (const spec::Parameter& parameter : run.config.parameters)
    plan.parameters[parameter.name] = parameter_json(parameter.value);
  for (const auto& [key, value] : run.config.tags) plan.tags[key] = value;
  plan.working_directory = run.config.working_directory;
  map_rules(run, plan);
  map_container(run, plan);
  return plan;
}

host::EnvironmentInput map_environment(const spec::LoadedRun& run, bool local) {
  host::EnvironmentInput input;
  input.local = local;
  input.needs_python = run.config.module.has_value() || (run.config.script && runs_with_python(*run.config.script));
  if (!run.config.environment) return input;
  input.setup = run.config.environment->setup;
  const auto& python = run.config.environment->python;
  if (!python) return input;
  const auto file = [&](const std::optional<std::string>& path) {
    return path ? fs::path(absolute_path(run.base_directory, *path)) : fs::path();
  };
  input.python_version = python->version.value_or("");
  // A bare name ("python3.12") is looked up on PATH; only what looks like a path counts from the file's folder.
  if (!local) {
    input.interpreter = python->interpreter.value_or("");
    input.venv = python->venv.value_or("");
  } else if (python->interpreter) {
    const auto on_path =
        python->interpreter->find('/') == std::string::npos ? base::find_program(*python->interpreter) : std::nullopt;
    input.interpreter = on_path ? *on_path : file(python->interpreter);
  }
  if (local) input.venv = file(python->venv);
  input.requirements_file = file(python->requirements_file);
  input.conda_file = file(python->conda_file);
  input.project = file(python->project);
  input.packages = python->packages;
  input.conda_packages = python->conda_packages;
  input.build_constraints = python->build_constraints;
  input.groups = python->groups;
  input.extras = python->extras;
  input.index_urls = python->index_urls;
  input.torch_backend = python->torch_backend.value_or("");
  return input;
}

}  // namespace trainctl::engine
