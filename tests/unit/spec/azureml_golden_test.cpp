// SPDX-License-Identifier: Apache-2.0
// Case by case against what the official SDK (azureml-core 1.61, azureml-train-core 1.62) compiles its estimators to:
// tests/data/azureml-sdk/estimators-to-runconfig.json, recorded from it. What differs on purpose is written in
// docs/estimators.md and stands here as kLeftOut and in the comments.
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "spec/expand.hpp"
#include "spec/load.hpp"
#include "spec/lower.hpp"
#include "unit/spec/estimators.hpp"
#include "unit/spec/files.hpp"

using namespace trainctl;
using namespace trainctl::spec;
using trainctl::test::at;
using trainctl::test::Folder;
using trainctl::test::load_estimator;
using trainctl::test::texts;

namespace {

using Words = std::vector<std::string>;

/// The estimator that was given to the SDK, in our words.
struct GoldenCase {
  const char* name;
  const char* estimator;
};

const GoldenCase kCases[] = {
    {"estimator", R"({"framework": "generic", "entry_script": "train.py", "script_params": {"--lr": 0.1, "--flag": ""},
       "compute_target": "local", "conda_packages": ["scipy"], "pip_packages": ["numpy"],
       "environment_variables": {"A": "b"}})"},
    {"estimator_mpi", R"({"estimator": "Estimator", "entry_script": "train.py", "compute_target": "gpu-cluster",
       "node_count": 2, "distributed_training": {"type": "Mpi", "process_count_per_node": 3}})"},
    {"estimator_gpu", R"({"framework": "generic", "entry_script": "train.py", "use_gpu": true, "shm_size": "8g"})"},
    {"sklearn", R"({"framework": "SKLearn", "entry_script": "train.py", "script_params": {"--k": "rbf"},
       "framework_version": "0.20.3"})"},
    {"tf", R"({"framework": "TensorFlow", "entry_script": "train.py", "framework_version": "1.13"})"},
    {"tf2", R"({"framework": "TensorFlow", "entry_script": "train.py", "framework_version": "2.3"})"},
    {"tf_ps", R"({"framework": "TensorFlow", "entry_script": "train.py", "compute_target": "gpu-cluster",
       "node_count": 3, "distributed_training": {"type": "ParameterServer", "worker_count": 2}})"},
    {"tf_mpi", R"({"framework": "TensorFlow", "entry_script": "train.py", "compute_target": "gpu-cluster",
       "node_count": 2, "use_gpu": true, "distributed_training": {"type": "Mpi", "process_count_per_node": 2}})"},
    {"keras_on_tf", R"({"framework": "TensorFlow", "entry_script": "train.py", "framework_version": "1.13",
       "pip_packages": ["keras==2.2.4", "matplotlib"]})"},
    {"pt", R"({"framework": "PyTorch", "entry_script": "train.py", "framework_version": "1.4"})"},
    {"pt_nccl", R"({"framework": "PyTorch", "entry_script": "train.py", "compute_target": "gpu-cluster",
       "node_count": 2, "use_gpu": true, "distributed_training": {"type": "Nccl"}})"},
    {"pt_gloo", R"({"framework": "PyTorch", "entry_script": "train.py", "compute_target": "gpu-cluster",
       "node_count": 2, "distributed_training": {"type": "Gloo"}})"},
    {"chainer", R"({"framework": "Chainer", "entry_script": "train.py", "framework_version": "5.1.0"})"},
    {"chainer_mpi", R"({"framework": "Chainer", "entry_script": "train.py", "compute_target": "gpu-cluster",
       "node_count": 2, "distributed_training": {"type": "Mpi"}})"},
    {"src_mpi", R"({"framework": "generic", "script": "train.py", "compute_target": "cpu-cluster",
       "max_run_duration_seconds": 2592000,
       "distributed_job_config": {"type": "MpiConfiguration", "process_count_per_node": 2, "node_count": 4}})"},
    {"src_pt", R"({"framework": "generic", "script": "train.py", "compute_target": "cpu-cluster",
       "max_run_duration_seconds": 2592000, "distributed_job_config":
         {"type": "PyTorchConfiguration", "communication_backend": "Gloo", "process_count": 4, "node_count": 2}})"},
    {"src_tf", R"({"framework": "generic", "script": "train.py", "compute_target": "cpu-cluster", "node_count": 2,
       "max_run_duration_seconds": 2592000, "distributed_job_config":
         {"type": "TensorflowConfiguration", "worker_count": 2, "parameter_server_count": 1}})"},
    {"src_cmd", R"({"framework": "generic", "command": ["echo", "hi"], "compute_target": "cpu-cluster",
       "max_run_duration_seconds": 2592000,
       "environment": {"container": {"image": "base:1", "arguments": ["--ipc=host"]}}})"},
};

/// Packages the SDK adds and we do not: its own client, Horovod and what Horovod is built with (ask for them), mpi4py
/// without MPI, and old companions of torch.
const std::set<std::string> kLeftOut = {
    "azureml-defaults", "azureml-dataset-runtime", "horovod", "cmake", "tensorboard", "future"};

const Json& golden() {
  static const Json all = [] {
    const std::filesystem::path file =
        std::filesystem::path(TRAINCTL_SOURCE_DIR) / "tests/data/azureml-sdk/estimators-to-runconfig.json";
    const auto text = base::read_file(file);
    REQUIRE(text);
    const auto json = base::parse_json(*text);
    REQUIRE(json);
    return *json;
  }();
  return all;
}

void check_program(const Json& wanted, const LoadedRun& run) {
  if (!wanted["script"].is_null()) CHECK(run.config.script == wanted["script"].get<std::string>());
  Words arguments;
  for (const Json& word : wanted["arguments"])
    arguments.push_back(word.is_string() ? word.get<std::string>() : base::dump_json(word));
  CHECK(parameter_arguments(run.config.parameters, run.config.parameter_style) == arguments);
  CHECK(run.config.target == wanted["target"].get<std::string>());
  if (wanted["maxRunDurationSeconds"].is_number()) {
    REQUIRE(run.config.limits.timeout);
    CHECK(*run.config.limits.timeout == std::chrono::seconds(wanted["maxRunDurationSeconds"].get<int>()));
  } else {
    CHECK_FALSE(run.config.limits.timeout);
  }
  if (!wanted["environmentVariables"].is_object()) return;
  for (const auto& [name, value] : wanted["environmentVariables"].items())
    CHECK(at(run, "/environment_variables/" + name) == value);
}

void check_mpi(const Json& wanted, const LoadedRun& run) {
  CHECK(at(run, "/distribution/type") == "mpi");
  const Json& processes = at(run, "/distribution/processes_per_node");
  CHECK((processes.is_null() ? Json(1) : processes) == wanted["mpi"]["processCountPerNode"]);
}

void check_distribution(const Json& wanted, const LoadedRun& run) {
  CHECK(run.config.resources.nodes == wanted["nodeCount"].get<std::int64_t>());
  const std::string communicator = base::to_lower(wanted["communicator"].get<std::string>());
  if (communicator == "none") {
    CHECK(at(run, "/distribution").is_null());
  } else if (communicator.ends_with("mpi")) {
    check_mpi(wanted, run);
  } else if (communicator == "parameterserver") {
    CHECK(at(run, "/distribution/type") == "tensorflow");
    CHECK(at(run, "/distribution/worker_count") == wanted["tensorflow"]["workerCount"]);
    CHECK(at(run, "/distribution/parameter_server_count") == wanted["tensorflow"]["parameterServerCount"]);
  } else {
    CHECK(at(run, "/distribution/type") == "pytorch");
    CHECK(at(run, "/distribution/backend") == communicator);
    if (!wanted["pytorch"]["processCount"].is_null()) {
      CHECK(at(run, "/distribution/processes_per_node").get<std::int64_t>() * run.config.resources.nodes ==
            wanted["pytorch"]["processCount"].get<std::int64_t>());
    }
  }
}

/// name → what it is pinned to ("==0.20.3"), of a list of requirements.
std::map<std::string, std::string> pins(const Words& requirements) {
  std::map<std::string, std::string> found;
  for (const std::string& requirement : requirements)
    found[package_name(requirement)] = requirement.substr(requirement.find_first_of("=<>~[") == std::string::npos
                                                              ? requirement.size()
                                                              : requirement.find_first_of("=<>~["));
  return found;
}

void check_packages(const Json& wanted, const LoadedRun& run) {
  Words asked;
  for (const Json& item : wanted["environment"]["python"]["condaDependencies"]["dependencies"]) {
    if (item.is_object()) {
      for (const Json& package : item["pip"]) asked.push_back(package);
    } else if (!item.get<std::string>().starts_with("python=")) {
      asked.push_back(item);
    }
  }
  Words ours = texts(at(run, "/environment/python/packages"));
  for (const std::string& package : texts(at(run, "/environment/python/conda_packages"))) ours.push_back(package);
  const auto installed = pins(ours);
  const std::string& framework = run.lowered_from->framework;
  for (const auto& [name, pin] : pins(asked)) {
    if (kLeftOut.contains(name) || (name == "mpi4py" && at(run, "/distribution").is_null())) continue;
    INFO(name);
    // tensorflow is tensorflow-cpu where there is one without CUDA inside.
    const auto found = installed.contains(name) ? installed.find(name) : installed.find(name + "-cpu");
    REQUIRE(found != installed.end());
    const std::string& version = run.lowered_from->version;
    if (name == package_name(framework) || name == "torch") CHECK(found->second.starts_with("==" + version));
  }
}

}  // namespace

TEST_CASE("estimators mean what the official SDK compiles them to", "[azureml]") {
  const Folder folder;
  std::set<std::string> seen;
  for (const GoldenCase& one : kCases) {
    INFO(one.name);
    seen.insert(one.name);
    REQUIRE(golden().contains(one.name));
    const Json& wanted = golden()[one.name];
    const LoadedRun run = load_estimator(folder, one.estimator);
    REQUIRE(run.lowered_from);
    check_program(wanted, run);
    check_distribution(wanted, run);
    // With user-managed dependencies the packages are in an image of Microsoft's; ours are installed.
    if (!wanted["environment"]["python"]["userManagedDependencies"].get<bool>() &&
        !std::string_view(one.name).starts_with("src_")) {
      check_packages(wanted, run);
    }
  }
  for (const auto& entry : golden().items()) CHECK(seen.contains(entry.key()));
}

TEST_CASE("what the SDK says about the container", "[azureml]") {
  const Folder folder;
  const Json& wanted = golden()["src_cmd"];
  const LoadedRun run = load_estimator(folder, kCases[17].estimator);
  CHECK(texts(at(run, "/environment/container/arguments")) == texts(wanted["docker"]["arguments"]));
  // shm_size counts in a container: with an image of one's own as in the SDK, without one it is said and left out.
  const LoadedRun image = load_estimator(
      folder, R"({"framework": "generic", "script": "train.py", "custom_docker_image": "base:1", "shm_size": "8g"})");
  CHECK(at(image, "/environment/container/shm_size") == golden()["estimator_gpu"]["docker"]["shmSize"]);
  const LoadedRun host = load_estimator(folder, kCases[2].estimator);
  CHECK(at(host, "/environment/container").is_null());
  CHECK(host.notes.size() == 1);
}
