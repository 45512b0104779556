// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/launch.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/container/client.hpp"
#include "host/container/engine.hpp"
#include "host/container/image.hpp"
#include "host/distribution/layout.hpp"
#include "host/distribution/mpi.hpp"
#include "host/distribution/mpi_rank.hpp"
#include "host/distribution/rank_variables.hpp"
#include "host/mlflow/address.hpp"
#include "host/supervisor/helper_module.hpp"
#include "host/supervisor/node_tree.hpp"
#include "host/supervisor/run_inputs.hpp"
#include "host/waiter/waiter.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

using format::CommandKind;

constexpr const char* kDefaultPath = "/usr/local/bin:/usr/bin:/bin";

std::string variable_name(const std::string& prefix, std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return prefix + base::to_upper(name);
}

void replace_all(std::string& text, std::string_view mark, const std::string& by) {
  for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + by.size())) {
    text.replace(at, mark.size(), by);
  }
}

/// What only the attempt knows, in place of its marks (see format::kOutputsMark and kResumeMark).
struct Marks {
  std::string outputs;
  std::string inputs;
  std::string resume;
  [[nodiscard]] std::string fill(std::string text) const {
    replace_all(text, format::kOutputsMark, outputs);
    replace_all(text, format::kInputsMark, inputs);
    replace_all(text, format::kResumeMark, resume);
    return text;
  }
};

Marks marks_of(const format::Plan& plan, const format::RunPaths& run, int attempt) {
  const format::AttemptPaths paths = run.attempt(attempt);
  return {paths.outputs(), paths.inputs(), resume_path(plan, run, attempt)};
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

/// A port or an address the spec names wins over what was chosen.
Rendezvous chosen_rendezvous(const Rendezvous& found, const Variables& variables) {
  Rendezvous made = found;
  const std::string* port = variables.find("MASTER_PORT");
  if (port != nullptr && !port->empty()) made.master_port = std::atoi(port->c_str());
  const std::string* address = variables.find("MASTER_ADDR");
  if (address != nullptr && !address->empty() && !made.addresses.empty()) made.addresses[0] = *address;
  return made;
}

void set_gpus(const Prepared& prepared, const std::vector<int>& gpus, Variables& variables) {
  if (!prepared.hide_gpus) return;
  std::string list;
  for (const int gpu : gpus) {
    // In a container those of the run are counted from 0.
    const auto place = std::find(prepared.gpus.begin(), prepared.gpus.end(), gpu) - prepared.gpus.begin();
    list += (list.empty() ? "" : ",") + std::to_string(prepared.container ? place : gpu);
  }
  variables.set("CUDA_VISIBLE_DEVICES", list);
  variables.set("CUDA_DEVICE_ORDER", "PCI_BUS_ID");  // the order in which nvidia-smi counts
}

void set_rank_variables(const format::Plan& plan, int rank, const Prepared& prepared, Variables& variables) {
  variables.set("TRAINCTL_RANK", std::to_string(rank));
  // Alone, a script is not distributed: libraries take a LOCAL_RANK as the order to look for a rendezvous.
  if (!is_distributed(plan)) return set_gpus(prepared, prepared.gpus, variables);
  const std::vector<RankPlace> places = layout(plan);
  const RankPlace& place = places.at(static_cast<std::size_t>(rank));
  const Rendezvous meeting = chosen_rendezvous(prepared.rendezvous, variables);
  for (const auto& [name, value] : shared_variables(plan, meeting)) {
    const bool preset = name == "MASTER_ADDR" || name == "MASTER_PORT" || name.ends_with("_IFNAME");
    preset ? variables.set_default(name, value) : variables.set(name, value);
  }
  // gloo would ask the resolver for this machine's name, which on many machines is an address of loopback.
  if (!prepared.interface.empty() && plan.distribution && plan.distribution->type == "pytorch") {
    variables.set_default("GLOO_SOCKET_IFNAME", prepared.interface);
    variables.set_default("TP_SOCKET_IFNAME", prepared.interface);
  }
  const double cpus = plan.resources.cpus.value_or(static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN)));
  const int threads = threads_per_rank(cpus, place.local_size);
  variables.set_default("OMP_NUM_THREADS", std::to_string(threads));
  set_gpus(prepared, gpus_of_rank(places, place, plan, prepared.gpus), variables);
  if (uses_mpi(plan)) {
    variables.remove("TRAINCTL_RANK");  // this is mpiexec; each rank gets its own from exec-rank
    if (!prepared.mpi) return;
    for (const auto& [name, value] : mpi_variables(*prepared.mpi, ::geteuid() == 0, plan.resources.nodes <= 1)) {
      variables.set_default(name, value);
    }
    return;
  }
  for (const auto& [name, value] : own_variables(plan, place)) variables.set(name, value);
  if (plan.distribution && plan.distribution->type == "tensorflow") {
    variables.set("TF_CONFIG", tf_config(places, place, meeting));
  }
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
  if (!plan.experiment.empty()) variables.set("TRAINCTL_EXPERIMENT", plan.experiment);
  variables.set("TRAINCTL_ATTEMPT", std::to_string(attempt));
  variables.set("TRAINCTL_OUTPUTS", paths.outputs());
  variables.set("TRAINCTL_METRICS", paths.metrics());
  for (const format::PlanInput& input : plan.inputs) {
    variables.set(variable_name("TRAINCTL_INPUT_", input.name),
                  input.is_copied() ? (paths.inputs() / input.copy_path()).string() : input.path);
  }
  for (const format::PlanOutput& output : plan.outputs) {
    variables.set(variable_name("TRAINCTL_OUTPUT_", output.name), paths.outputs() / output.path);
  }
}

/// Ours, what the environment changes, and what the spec sets.
Variables base_variables(const format::Plan& plan, const Prepared& prepared, const Marks& marks) {
  // In a container the image's variables are underneath, not those of this machine.
  Variables variables = prepared.container ? Variables() : Variables::inherited();
  if (is_distributed(plan)) variables.remove_if(is_foreign_rank_variable);
  for (const auto& [name, value] : prepared.variables) {
    value ? variables.set(name, *value) : variables.remove(name);
  }
  for (const auto& [name, value] : plan.variables) variables.set(name, marks.fill(value));
  for (const auto& [name, value] : prepared.endpoint) variables.set(name, value);
  return variables;
}

std::string search_path(const Variables& variables) {
  const std::string* path = variables.find("PATH");
  return path != nullptr && !path->empty() ? *path : kDefaultPath;
}

Result<> check_script(const format::Plan& plan, const std::filesystem::path& directory) {
  if (plan.command.kind != CommandKind::python_script || plan.command.argv.empty()) return {};
  const auto script = directory / plan.command.argv[0];
  std::error_code ignored;
  if (std::filesystem::exists(script, ignored)) return {};
  return fail(Errc::cannot_start, "the script " + plan.command.argv[0] + " does not exist in the working directory");
}

/// What of this machine the script needs: its run, and what it reads.
Result<std::vector<Mount>> container_mounts(const format::Plan& plan, const format::RunPaths& run, int attempt) {
  std::vector<Mount> mounts = {{run.root, true}};
  const auto add = [&](const std::filesystem::path& path, bool writable) {
    const auto same = [&](const Mount& mount) { return mount.path == path; };
    if (base::exists(path) && std::none_of(mounts.begin(), mounts.end(), same)) mounts.push_back({path, writable});
  };
  if (plan.in_place() || unpacks_on_node(plan)) add(source_root(plan, run.attempt(attempt)), true);
  TRY_ASSIGN(const auto modules, provide_helper_modules(format::StorePaths{run.store()}));
  add(modules.own, false);
  add(modules.shared, false);
  for (const format::PlanInput& input : plan.inputs) {
    if (input.is_copied()) continue;
    add(input.path, false);
    // The large files of an input that was sent here are links to the store's blobs.
    const format::StorePaths store{run.store()};
    if (input.path.starts_with(store.inputs().string() + "/")) add(store.snapshots() / "objects", false);
  }
  if (plan.resume_from) add(plan.resume_from->path, false);
  return mounts;
}

struct Which {
  int attempt;
  int rank;
};

Result<ContainerLaunch> in_container(const format::Plan& plan, const format::RunPaths& run, const Which& which,
                                     const Prepared& prepared, const RankLaunch& launch, const Variables& variables) {
  const ContainerImage& image = *prepared.container;
  ContainerRun inner{.name = container_name(run.id(), which.attempt, which.rank),
                     .image = image.id,
                     .run_id = run.id(),
                     .attempt = which.attempt,
                     .rank = which.rank,
                     .user = ::geteuid(),
                     .group = ::getegid(),
                     .runner = {},
                     .mounts = {},
                     .gpus = prepared.gpus};
  TRY_ASSIGN(const auto runner, runner_program());
  inner.runner = runner;
  TRY_ASSIGN(inner.mounts, container_mounts(plan, run, which.attempt));
  ContainerLaunch made{
      .engine = image.engine, .name = inner.name, .argv = run_command(image.engine, plan, inner), .order = {}};
  made.argv.emplace_back("inside");
  made.memory_limited = plan.resources.memory.has_value();
  made.order = {.argv = launch.argv,
                .environment = variables.assignments(),
                .directory = launch.directory,
                .log = launch.log,
                .via = launch.via};
  if (plan.metrics.takes("mlflow") && !is_in_host_network(*plan.container)) {
    made.order.mlflow = {.run = plan.id,
                         .name = plan.name,
                         .experiment = plan.experiment,
                         .token = new_mlflow_token(),
                         .rank = which.rank,
                         .attempt = run.attempt(which.attempt).root};
  }
  return made;
}

/// Whether anything but folders lies below: those of declared outputs are there before the script writes.
bool holds_files(const std::filesystem::path& root) {
  std::error_code problem;
  for (std::filesystem::recursive_directory_iterator it(root, problem), end; !problem && it != end;
       it.increment(problem)) {
    std::error_code ignored;
    if (it->is_symlink(ignored) || !it->is_directory(ignored)) return true;
  }
  return false;
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

void Variables::remove_if(bool (*unwanted)(std::string_view name)) {
  std::erase_if(values_, [&](const auto& entry) { return unwanted(entry.first); });
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
  for (const auto& [name, value] : values_) result.push_back(base::assignment(name, value));
  return result;
}

std::filesystem::path rank_directory(const format::Plan& plan, const format::AttemptPaths& attempt) {
  std::filesystem::path root = source_root(plan, attempt);
  if (plan.working_directory.empty() || plan.working_directory == ".") return root;
  return (root / plan.working_directory).lexically_normal();
}

std::string resume_path(const format::Plan& plan, const format::RunPaths& run, int attempt) {
  // The last attempt's, of which ours are a copy: a rank that is started after another one wrote sees the same.
  const bool own = plan.retry.resume && attempt > 1 && holds_files(run.attempt(attempt - 1).outputs());
  if (own) return run.attempt(attempt).outputs();
  return plan.resume_from ? plan.resume_from->path : std::string();
}

Result<MpiLauncher> find_mpi(const format::Plan& plan, const Prepared& prepared) {
  Variables variables = base_variables(plan, prepared, {});
  for (const auto& [name, value] : mpi_variables({.path = {}, .kind = MpiKind::open_mpi}, ::geteuid() == 0, false)) {
    variables.set_default(name, value);
  }
  return find_mpi(search_path(variables), variables.assignments());
}

Result<Variables> rank_environment(const format::Plan& plan, const format::RunPaths& run, int attempt, int rank,
                                   const Prepared& prepared) {
  const Marks marks = marks_of(plan, run, attempt);
  Variables variables = base_variables(plan, prepared, marks);
  TRY(set_secrets(plan, run, variables));
  set_run_variables(plan, run, attempt, variables);
  if (!marks.resume.empty()) variables.set("TRAINCTL_RESUME_FROM", marks.resume);
  set_rank_variables(plan, rank, prepared, variables);
  variables.set("PWD", rank_directory(plan, run.attempt(attempt)));
  // Only Python reads them, and writing the modules once a store is not worth failing a run.
  if (const auto modules = provide_helper_modules(format::StorePaths{run.store()})) {
    variables.prepend_path("PYTHONPATH", modules->own.string());
    if (plan.metrics.takes("azureml")) variables.append_path("PYTHONPATH", modules->shared.string());
  }
  return variables;
}

Result<RankLaunch> make_launch(const format::Plan& plan, const format::RunPaths& run, int attempt, int rank,
                               const Prepared& prepared) {
  const format::AttemptPaths paths = run.attempt(attempt);
  RankLaunch launch;
  launch.rank = rank;
  launch.node = paths.own_node;
  launch.rank_file = paths.own_rank(rank);
  launch.log = paths.log(rank);
  launch.directory = rank_directory(plan, paths);
  TRY(check_script(plan, launch.directory));
  TRY(check_inputs(plan));
  const Marks marks = marks_of(plan, run, attempt);
  TRY_ASSIGN(Variables variables, rank_environment(plan, run, attempt, rank, prepared));
  if (uses_mpi(plan)) {
    if (!prepared.mpi) return fail(Errc::cannot_start, "mpiexec was not looked for");
    launch.argv = mpi_command(*prepared.mpi, plan);
    for (std::string& word : mpi_rank_command(paths, launch.node)) launch.argv.push_back(std::move(word));
  }
  for (std::string& word : command_line(plan, prepared.python)) launch.argv.push_back(marks.fill(std::move(word)));
  launch.search_path = search_path(variables);
  launch.via = plan.logs_via;
  if (prepared.container) {
    variables.set_default("HOME", launch.directory);
    TRY_ASSIGN(launch.container, in_container(plan, run, {attempt, rank}, prepared, launch, variables));
    launch.via = "file";
  }
  launch.environment = variables.assignments();
  return launch;
}

}  // namespace trainctl::host
