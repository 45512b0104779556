// SPDX-License-Identifier: Apache-2.0
// plan.json: the resolved, immutable record of what a run does. Engine writes it, host executes it, everyone reads it.
// It holds no secret values.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "trainctl/result.hpp"

namespace trainctl::format {

inline constexpr int kPlanFormat = 1;

/// Stands in arguments and variables for the outputs folder of the attempt, which is known only when it starts.
inline constexpr std::string_view kOutputsMark = "\x01outputs\x01";
/// The same for the folder with the attempt's copies of inputs.
inline constexpr std::string_view kInputsMark = "\x01inputs\x01";

/// Stands for the root of the store of the host that the run lies on, wherever a path may: arguments, variables,
/// inputs, what to resume from, a container's folders.
inline constexpr std::string_view kStoreMark = "\x01store\x01";

/// Stands for the folder to resume from: the earlier run's, or after a retry with `resume` the attempt's own outputs.
inline constexpr std::string_view kResumeMark = "\x01resume\x01";

enum class CommandKind {
  python_script,  // argv[0] is the script relative to the working directory; run by the environment's Python
  python_module,  // argv[0] is the module: python -m
  exec,   // argv as it is; argv[0] is looked up on the run's PATH, or relative to the working directory if it has a
          // slash
  shell,  // argv[0] is the text for `shell`, the rest its positional parameters
};

struct PlanCommand {
  CommandKind kind = CommandKind::exec;
  std::vector<std::string> argv;
  std::string shell = "bash";  // bash | sh
};

struct PlanInput {
  std::string name;
  std::string path;           // absolute on the target's side of things (local: of this machine)
  std::string mode = "link";  // link | copy

  [[nodiscard]] bool is_copied() const { return mode == "copy"; }
  /// "<name>/<file name>": where its copy lies in AttemptPaths::inputs().
  [[nodiscard]] std::string copy_path() const { return name + "/" + path.substr(path.rfind('/') + 1); }
};

struct PlanOutput {
  std::string name;
  std::string path;  // relative to outputs/
  std::string register_model = {};
};

struct PlanResources {
  int nodes = 1;
  std::optional<double> cpus;           // unstated reserves nothing
  std::optional<std::uint64_t> memory;  // bytes
  std::optional<int> gpus;              // unstated leaves CUDA_VISIBLE_DEVICES alone; 0 hides GPUs
};

/// How the processes of the run find each other. Host-neutral: addresses and ports are chosen when an attempt starts.
struct PlanDistribution {
  std::string type = "processes";  // processes | pytorch | mpi | tensorflow
  std::string backend = {};        // pytorch: "" | gloo | nccl
  int workers = 0;                 // tensorflow: over all nodes
  int parameter_servers = 0;
  bool chief = false;
  bool evaluator = false;
};

/// The container each rank runs in. Paths are absolute on the target's side of things.
struct PlanContainer {
  std::string image = {};       // or, when empty:
  std::string dockerfile = {};  // … what builds it
  std::string context = {};
  std::string engine = {};  // "" | docker | podman
  std::vector<std::string> arguments = {};
  std::vector<std::string> volumes = {};
  std::optional<std::uint64_t> shm_size = {};
  bool gpus = false;
  std::string python = "python3";  // of the image
  std::string registry = {};       // its login: address, user, name of the secret with the password
  std::string registry_user = {};
  std::string registry_secret = {};
};

/// Earlier outputs the script goes on from.
struct PlanResume {
  std::string path;      // absolute on the target's side of things
  std::string run = {};  // ULID, when it is a run's
};

struct PlanLimits {
  std::optional<std::chrono::milliseconds> timeout, queue_timeout, start_timeout, idle;
};

struct PlanRetry {
  int max = 0;
  std::vector<std::string> on;  // causes and "exit:<code>", "signal:<name>"
  std::chrono::milliseconds backoff = std::chrono::seconds(1);
  bool resume = false;
};

struct PlanStop {
  std::string signal = "SIGINT";
  std::chrono::milliseconds grace = std::chrono::seconds(30);
  std::optional<std::chrono::milliseconds> warn;
  std::string warn_signal = "SIGUSR2";
};

struct PlanMetrics {
  std::string primary;
  std::string goal;                   // "" | maximize | minimize
  std::vector<std::string> patterns;  // PCRE2 or the {name} form
  std::vector<std::string> without;   // sources that are turned off: mlflow, azureml, tensorboard, chainer, lightning
  bool system = true;                 // sample CPU, memory, IO and GPU
  std::chrono::milliseconds interval = std::chrono::seconds(5);

  [[nodiscard]] bool takes(std::string_view source) const {
    return std::find(without.begin(), without.end(), source) == without.end();
  }
};

struct Plan {
  int format = kPlanFormat;
  std::string id;          // ULID
  std::string name;        // digits-42
  std::string experiment;  // may be empty
  std::string created;     // UTC
  int priority = 0;
  Json target = {{"name", "local"}, {"type", "local"}};  // the definition of where it runs (target::resolve_target)
  Json who = Json::object();                             // user, host, machine, client (version), directory, argv
  Json spec = Json::object();                            // as written, merged, canonical spelling
  Json origins = Json::object();                         // JSON pointer -> where it came from
  Json estimator = nullptr;  // {framework, version, preset, written}: what `spec` was lowered from; null without one
  Json source = Json::object();      // {kind: snapshot|in_place|none, digest, files, bytes, directory, git{}}
  Json parameters = Json::object();  // recorded, compared, filtered
  Json tags = Json::object();
  PlanCommand command;
  std::string working_directory = ".";  // relative to work/, or to the source directory when in place
  Json environment = nullptr;           // host::EnvironmentRequest; null = nothing to build, no Python needed
  std::vector<std::pair<std::string, std::string>> variables;
  std::vector<std::string> secrets;  // names; values lie in StorePaths::secrets(id) until the end
  std::vector<PlanInput> inputs;
  std::vector<PlanOutput> outputs;
  std::vector<std::string> keep;
  PlanResources resources;
  int processes_per_node = 1;
  std::optional<PlanDistribution> distribution;  // unset: one process, or plain copies of it
  std::optional<PlanResume> resume_from;
  std::optional<PlanContainer> container;  // environment is null then
  PlanLimits limits;
  PlanRetry retry;
  PlanStop stop;
  PlanMetrics metrics;
  std::string logs_via = "file";  // file | pipe | pty

  [[nodiscard]] bool in_place() const { return source.value("kind", "") == "in_place"; }
};

/// Puts the store's root in place of kStoreMark everywhere in the plan.
void resolve_store_mark(Plan& plan, const std::filesystem::path& store);

/// Digests in the snapshot store that the run needs: its source's, and those of inputs that were sent to its host.
std::set<std::string> needed_digests(const Plan& plan);

Json to_json(const Plan& plan);
/// Errc::store for a damaged plan or one of a newer format ("upgrade").
Result<Plan> plan_from_json(const Json& json);
Result<Plan> read_plan(const std::filesystem::path& path);

}  // namespace trainctl::format
