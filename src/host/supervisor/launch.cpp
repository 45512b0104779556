// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/launch.hpp"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "host/supervisor/helper_module.hpp"

namespace trainctl::host {
namespace {

using format::CommandKind;

constexpr const char* kDefaultPath = "/usr/local/bin:/usr/bin:/bin";

std::string variable_name(const std::string& prefix, std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return prefix + base::to_upper(name);
}

/// The outputs folder in place of its mark (see format::kOutputsMark).
std::string with_outputs(std::string text, const std::string& outputs) {
  for (std::size_t at = text.find(format::kOutputsMark); at != std::string::npos;
       at = text.find(format::kOutputsMark, at + outputs.size())) {
    text.replace(at, format::kOutputsMark.size(), outputs);
  }
  return text;
}

std::vector<std::string> command_line(const format::Plan& plan, const std::string& python) {
  std::vector<std::string> argv;
  switch (plan.command.kind) {
    case CommandKind::python_script:
      argv = {python};
      break;
    case CommandKind::python_module:
      argv = {python, "-m"};
      break;
    case CommandKind::shell:
      argv = {plan.command.shell, "-c"};
      break;
    case CommandKind::exec:
      break;
  }
  argv.insert(argv.end(), plan.command.argv.begin(), plan.command.argv.end());
  if (plan.command.kind == CommandKind::shell && argv.size() > 3) argv.insert(argv.begin() + 3, plan.command.shell);
  return argv;
}

void set_rank_variables(const format::Plan& plan, int rank, Variables& variables) {
  variables.set("TRAINCTL_RANK", std::to_string(rank));
  const int ranks = plan.processes_per_node;
  // Alone, a script is not distributed: libraries take a LOCAL_RANK as the order to look for a rendezvous.
  if (ranks <= 1) return;
  const std::string count = std::to_string(ranks);
  variables.set("RANK", std::to_string(rank));
  variables.set("LOCAL_RANK", std::to_string(rank));
  variables.set("WORLD_SIZE", count);
  variables.set("LOCAL_WORLD_SIZE", count);
  variables.set("NODE_RANK", "0");
  const double cpus = plan.resources.cpus.value_or(static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN)));
  const int threads = std::max(1, static_cast<int>(cpus) / ranks);
  variables.set_default("OMP_NUM_THREADS", std::to_string(threads));
}

Result<> set_secrets(const format::Plan& plan, const format::RunPaths& run, Variables& variables) {
  if (plan.secrets.empty()) return {};
  const auto path = format::StorePaths{run.store()}.secrets(run.id());
  auto text = base::read_file(path, 1U << 20U);
  if (!text) return fail(Errc::cannot_start, "the run's secrets are gone: submit it again");
  TRY_ASSIGN(const Json json, base::parse_json(*text));
  for (const std::string& name : plan.secrets) {
    const auto found = json.find(name);
    if (found == json.end() || !found->is_string())
      return fail(Errc::cannot_start, "there is no value for secret " + name);
    variables.set(name, found->get<std::string>());
  }
  return {};
}

void set_run_variables(const format::Plan& plan, const format::RunPaths& run, int attempt, Variables& variables) {
  const format::AttemptPaths paths = run.attempt(attempt);
  variables.set_default("PYTHONUNBUFFERED", "1");
  variables.set("TRAINCTL_RUN_ID", plan.id);
  variables.set("TRAINCTL_RUN_NAME", plan.name);
  variables.set("TRAINCTL_ATTEMPT", std::to_string(attempt));
  variables.set("TRAINCTL_OUTPUTS", paths.outputs());
  variables.set("TRAINCTL_METRICS", paths.metrics());
  for (const format::PlanInput& input : plan.inputs) {
    variables.set(variable_name("TRAINCTL_INPUT_", input.name), input.path);
  }
  for (const format::PlanOutput& output : plan.outputs) {
    variables.set(variable_name("TRAINCTL_OUTPUT_", output.name), paths.outputs() / output.path);
  }
}

void set_gpus(const Prepared& prepared, Variables& variables) {
  if (!prepared.hide_gpus) return;
  std::string list;
  for (const int gpu : prepared.gpus) list += (list.empty() ? "" : ",") + std::to_string(gpu);
  variables.set("CUDA_VISIBLE_DEVICES", list);
  variables.set("CUDA_DEVICE_ORDER", "PCI_BUS_ID");  // the order in which nvidia-smi counts
}

Result<> check_script(const format::Plan& plan, const std::filesystem::path& directory) {
  if (plan.command.kind != CommandKind::python_script || plan.command.argv.empty()) return {};
  const auto script = directory / plan.command.argv[0];
  std::error_code ignored;
  if (std::filesystem::exists(script, ignored)) return {};
  return fail(Errc::cannot_start, "the script " + plan.command.argv[0] + " does not exist in the working directory");
}

}  // namespace

Variables Variables::inherited() {
  Variables variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const auto equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;
    const std::string_view name = text.substr(0, equals);
    // A run started inside a run must not see the outer one's data.
    if (name.starts_with("TRAINCTL_") && name != "TRAINCTL_HOME") continue;
    variables.values_[std::string(name)] = std::string(text.substr(equals + 1));
  }
  return variables;
}

void Variables::set(const std::string& name, const std::string& value) {
  values_[name] = value;
}

void Variables::set_default(const std::string& name, const std::string& value) {
  values_.try_emplace(name, value);
}

void Variables::remove(const std::string& name) {
  values_.erase(name);
}

void Variables::prepend_path(const std::string& name, const std::string& folder) {
  const std::string* old = find(name);
  set(name, old == nullptr || old->empty() ? folder : folder + ":" + *old);
}

void Variables::append_path(const std::string& name, const std::string& folder) {
  const std::string* old = find(name);
  set(name, old == nullptr || old->empty() ? folder : *old + ":" + folder);
}

const std::string* Variables::find(const std::string& name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : &found->second;
}

std::vector<std::string> Variables::assignments() const {
  std::vector<std::string> result;
  result.reserve(values_.size());
  for (const auto& [name, value] : values_) result.push_back(name + "=" + value);
  return result;
}

std::filesystem::path rank_directory(const format::Plan& plan, const format::AttemptPaths& attempt) {
  const std::filesystem::path root = plan.in_place() ? plan.source.value("directory", ".") : attempt.work().string();
  if (plan.working_directory.empty() || plan.working_directory == ".") return root;
  return (root / plan.working_directory).lexically_normal();
}

Result<RankLaunch> make_launch(const format::Plan& plan, const format::RunPaths& run, int attempt, int rank,
                               const Prepared& prepared) {
  const format::AttemptPaths paths = run.attempt(attempt);
  RankLaunch launch;
  launch.rank = rank;
  launch.rank_file = paths.rank(0, rank);
  launch.log = paths.log(rank);
  launch.directory = rank_directory(plan, paths);
  TRY(check_script(plan, launch.directory));
  Variables variables = Variables::inherited();
  for (const auto& [name, value] : prepared.variables) {
    value ? variables.set(name, *value) : variables.remove(name);
  }
  for (const auto& [name, value] : plan.variables) variables.set(name, with_outputs(value, paths.outputs()));
  TRY(set_secrets(plan, run, variables));
  set_gpus(prepared, variables);
  set_run_variables(plan, run, attempt, variables);
  set_rank_variables(plan, rank, variables);
  variables.set("PWD", launch.directory);
  // Only Python reads them, and writing the modules once a store is not worth failing a run.
  if (const auto modules = provide_helper_modules(format::StorePaths{run.store()})) {
    variables.prepend_path("PYTHONPATH", modules->own.string());
    variables.append_path("PYTHONPATH", modules->shared.string());
  }
  launch.argv = command_line(plan, prepared.python);
  for (std::string& word : launch.argv) word = with_outputs(std::move(word), paths.outputs());
  const std::string* path = variables.find("PATH");
  launch.search_path = path != nullptr && !path->empty() ? *path : kDefaultPath;
  launch.environment = variables.assignments();
  launch.via = plan.logs_via;
  return launch;
}

}  // namespace trainctl::host
