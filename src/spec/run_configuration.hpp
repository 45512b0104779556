// SPDX-License-Identifier: Apache-2.0
// The run configuration a person writes, as plain values. Field names, types, aliases and documentation are the tables
// in run_tables.cpp; decoding, `trainctl schema run` and the reference page are made from them.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.hpp"

namespace trainctl::spec {

using Duration = std::chrono::milliseconds;

struct ByteSize {
  std::uint64_t bytes = 0;
  friend bool operator==(const ByteSize&, const ByteSize&) = default;
};

/// What a parameter may be. Objects are errors.
using Scalar = std::variant<std::nullptr_t, bool, std::int64_t, double, std::string>;
using ParameterValue = std::variant<Scalar, std::vector<Scalar>>;

struct Parameter {
  std::string name;
  ParameterValue value;
  friend bool operator==(const Parameter&, const Parameter&) = default;
};

using TextMap = std::vector<std::pair<std::string, std::string>>;  ///< in the order written

enum class Shell { bash, sh };
enum class ParameterStyle {
  dashes_space,
  dashes_equals,
  equals,
  env,
  none
};  ///< "--k v", "--k=v", "k=v", "env", "none"
enum class InputMode { link, copy, download };
enum class Goal { maximize, minimize };
enum class LogVia { file, pipe, pty };
enum class CollectWhen { always, on_success, never };
/// Which outputs of a run elsewhere are copied home.
struct Collect {
  CollectWhen when = CollectWhen::always;
  std::vector<std::string> patterns;  ///< of paths below outputs/; none = all
};
enum class DistributionType { processes, pytorch, mpi, tensorflow };

using CommandLine = std::variant<std::vector<std::string>, std::string>;  ///< argv, or text for the shell

/// At most one of interpreter, venv, conda_file, project and requirements_file says what is used; packages alone, or
/// beside a requirements or conda file.
struct PythonEnvironment {
  std::optional<std::string> interpreter;  ///< a path, or a name on the target's PATH
  std::optional<std::string> venv;
  std::optional<std::string> version;  ///< "3.11", "3.11.7", ">=3.10,<3.13"
  std::vector<std::string> packages;
  std::vector<std::string> conda_packages;  ///< as conda writes them: "scipy=1.11"
  std::vector<std::string> build_constraints;
  std::optional<std::string> requirements_file;
  std::optional<std::string> conda_file;
  std::optional<std::string> project;  ///< folder of a uv project
  std::vector<std::string> groups;
  std::vector<std::string> extras;
  std::vector<std::string> index_urls;
  std::optional<std::string> torch_backend;  ///< auto, cpu, cu121 …
  friend bool operator==(const PythonEnvironment&, const PythonEnvironment&) = default;
};

struct ContainerBuild {
  std::optional<std::string> dockerfile;  ///< default: "Dockerfile" in the context
  std::optional<std::string> context;     ///< default: the folder of the Dockerfile
  friend bool operator==(const ContainerBuild&, const ContainerBuild&) = default;
};

/// Who may take the image from its registry. Without one the engine's own logins are used.
struct ContainerRegistry {
  std::optional<std::string> address;  ///< default: the first part of the image's name
  std::optional<std::string> username;
  std::optional<std::string> password_secret;  ///< the name of one of the run's secrets
  friend bool operator==(const ContainerRegistry&, const ContainerRegistry&) = default;
};

/// An image, or what builds one.
struct ContainerEnvironment {
  std::optional<std::string> image;
  std::optional<ContainerBuild> build;
  std::optional<std::string> engine;  ///< docker, podman
  std::vector<std::string> arguments;
  std::optional<ByteSize> shm_size;
  std::vector<std::string> volumes;  ///< "/here:/there" or "/here:/there:ro"
  std::optional<ContainerRegistry> registry;
  std::optional<bool> gpus;  ///< unset: when the run has GPUs
  friend bool operator==(const ContainerEnvironment&, const ContainerEnvironment&) = default;
};

/// Which machine builds environments for a job of Slurm.
enum class BuildOn { submit_host, job };

/// A reference to a JSON file ("environment": "envs/torch.json") is already replaced by that file's content.
struct Environment {
  std::optional<std::string> reference;  ///< the file it came from, relative to the base directory; only a record
  std::optional<PythonEnvironment> python;
  std::vector<std::string> setup;
  std::optional<ContainerEnvironment> container;
  std::optional<BuildOn> build;  ///< unset: as the target says
  friend bool operator==(const Environment&, const Environment&) = default;
};

struct Secret {
  std::string name;
  std::optional<std::string> env;  ///< the submitter's variable; `name` when neither env, file nor command is set
  std::optional<std::string> file;
  std::vector<std::string> command;
};

struct Input {
  std::string name;
  std::string source;  ///< a local path (relative to the base directory), host:/path, data:, run:, model: or a URL
  std::optional<InputMode> mode;
};

struct Output {
  std::string name;
  std::optional<std::string> path;  ///< relative to outputs/; `name` when unset
  std::optional<std::string> register_model;
};

struct Resources {
  std::int64_t nodes = 1;
  std::optional<double> cpus;
  std::optional<ByteSize> memory;
  std::optional<std::int64_t> gpus;
};

struct Distribution {
  DistributionType type = DistributionType::processes;
  std::optional<std::int64_t> processes_per_node;  ///< unset: one for each GPU of `resources`, else one
  std::optional<std::string> backend;              ///< pytorch: gloo, nccl
  std::optional<std::int64_t> worker_count;        ///< tensorflow, over all nodes
  std::optional<std::int64_t> parameter_server_count;
  std::optional<bool> chief;  ///< tensorflow; unset: when there are parameter servers
  bool evaluator = false;
};

struct Limits {
  std::optional<Duration> timeout;
  std::optional<Duration> queue_timeout;
  std::optional<Duration> start_timeout;
  std::optional<Duration> idle;
};

struct Retry {
  std::int64_t max = 0;
  std::vector<std::string> on;  ///< preempted, node, start, lost, failed, …, exit:<code>, signal:<name>
  Duration backoff = std::chrono::seconds(30);
  bool resume = false;
};

struct Stop {
  std::string signal = "SIGINT";
  Duration grace = std::chrono::seconds(30);
  std::optional<Duration> warn;
  std::string warn_signal = "SIGUSR2";
};

struct SystemMetrics {
  bool enabled = true;
  Duration interval = std::chrono::seconds(5);
};

/// What is read beside `patterns` and the script's own calls of trainctl.log.
struct MetricSources {
  bool mlflow = true;
  bool azureml = true;
  bool tensorboard = true;
  bool chainer = true;
  bool lightning = true;
};

struct Metrics {
  std::optional<std::string> primary;
  Goal goal = Goal::maximize;
  std::vector<std::string> patterns;
  MetricSources sources;
  SystemMetrics system;
};

struct Logs {
  LogVia via = LogVia::file;
};

struct RunConfiguration {
  std::string type = "run";
  std::optional<std::string> name;
  std::optional<std::string> experiment;
  std::optional<std::string> description;
  std::optional<std::string> script;  ///< relative to the source directory
  std::optional<std::string> module;
  std::optional<CommandLine> command;
  Shell shell = Shell::bash;
  std::string source_directory = ".";   ///< relative to the base directory
  std::string working_directory = ".";  ///< relative to the source directory
  std::vector<Parameter> parameters;
  ParameterStyle parameter_style = ParameterStyle::dashes_space;
  std::vector<std::string> arguments;
  std::string target = "local";            ///< of an object: what to call it
  std::optional<Json> target_object = {};  ///< a target without a name, in canonical spelling (target.hpp)
  std::optional<Environment> environment;
  TextMap environment_variables;
  std::vector<Secret> secrets;
  std::vector<Input> inputs;
  std::vector<Output> outputs;
  std::vector<std::string> keep;
  Collect collect;
  Resources resources;
  std::optional<Distribution> distribution;
  std::optional<std::string> resume_from;  ///< a run, "run:NAME/path" or a path relative to the base directory
  Limits limits;
  Retry retry;
  Stop stop;
  Metrics metrics;
  Logs logs;
  TextMap tags;
  std::int64_t priority = 0;
  bool in_place = false;
};

}  // namespace trainctl::spec
