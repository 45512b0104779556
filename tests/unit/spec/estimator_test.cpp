// SPDX-License-Identifier: Apache-2.0
#include <stdint.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/json_locate.hpp"
#include "spec/check.hpp"
#include "spec/estimator_preset.hpp"
#include "spec/expand.hpp"
#include "spec/layer.hpp"
#include "spec/load.hpp"
#include "spec/lower.hpp"
#include "spec/release.hpp"
#include "spec/run_configuration.hpp"
#include "spec/run_tables.hpp"
#include "trainctl/error.hpp"
#include "unit/spec/estimators.hpp"
#include "unit/spec/files.hpp"

using namespace trainctl;
using namespace trainctl::spec;
using trainctl::test::at;
using trainctl::test::Folder;
using trainctl::test::load_estimator;
using trainctl::test::mistakes;
using trainctl::test::texts;

namespace {
using Words = std::vector<std::string>;

bool noted(const LoadedRun& run, std::string_view part) {
  return std::any_of(run.notes.begin(), run.notes.end(),
                     [&](const std::string& note) { return note.find(part) != std::string::npos; });
}
}  // namespace

TEST_CASE("an estimator becomes a run configuration", "[estimator]") {
  const Folder folder;
  const LoadedRun run = load_estimator(folder, R"({
  "type": "estimator", "framework": "scikit-learn", "framework_version": "1.9",
  "entry_script": "train.py", "script_params": { "--kernel": "rbf", "--verbose": "", "-c": 1.5 },
  "compute_target": "local", "pip_packages": ["pandas>=2"], "environment_variables": { "A": "b" },
  "max_run_duration_seconds": 600
})");
  CHECK(run.config.script == "train.py");
  CHECK(parameter_arguments(run.config.parameters, run.config.parameter_style) ==
        Words{"--kernel", "rbf", "--verbose", "-c", "1.5"});
  REQUIRE(run.config.environment);
  CHECK(run.config.environment->python->version == ">=3.11,<3.15");
  CHECK(run.config.environment->python->packages == Words{"scikit-learn==1.9.*", "scipy", "joblib", "pandas>=2"});
  CHECK(run.config.limits.timeout == std::chrono::minutes(10));
  REQUIRE(run.lowered_from);
  CHECK(run.lowered_from->framework == "scikit-learn");
  CHECK(run.lowered_from->version == "1.9");
  CHECK_FALSE(run.merged.contains("framework"));
  // Every value knows where it was written.
  const std::string file = (folder / "a.json").string();
  CHECK(to_string(*find_origin(run.origins, "/environment/python/packages/3")) == file + ":4:47");
  CHECK(to_string(*find_origin(run.origins, "/environment/python/packages/0")) == file + ":2:74");
  CHECK(to_string(*find_origin(run.origins, "/environment/python/packages/1")) == "estimator scikit-learn");
}

TEST_CASE("the kind of a file is found without type", "[estimator]") {
  const Folder folder;
  CHECK(load_estimator(folder, R"({"estimator": "sklearn", "script": "a.py"})").lowered_from->framework ==
        "scikit-learn");
  CHECK(load_estimator(folder, R"({"framework": "SKLearn", "script": "a.py"})").lowered_from);
  CHECK_FALSE(load_estimator(folder, R"({"script": "a.py"})").lowered_from);
  folder.write("base.json", R"({"framework": "generic", "pip_packages": ["numpy"]})");
  CHECK(at(load_estimator(folder, R"({"extends": "base.json", "script": "a.py"})"), "/environment/python/packages") ==
        Json::array({"numpy"}));
  folder.write("base.json", R"({"script": "a.py", "type": "run", "limits": {"timeout": "1h"}})");
  CHECK(load_estimator(folder, R"({"extends": "base.json", "framework": "generic"})").config.limits.timeout ==
        std::chrono::hours(1));
  folder.write("base.json", R"({"framework": "generic"})");
  CHECK(mistakes(folder, R"({"extends": "base.json", "type": "run", "script": "a.py"})")
            .starts_with("extends: a run configuration cannot build on an estimator: base.json   --> a.json:1:13"));
  CHECK(mistakes(folder, R"({"type": "estmator", "framework": "generic", "script": "a.py"})") ==
        "type: expected \"estimator\", found text \"estmator\"   --> a.json:1:10   (did you mean \"estimator\"?)");
}

TEST_CASE("flags and profiles know the estimator's words", "[estimator]") {
  const Folder folder;
  folder.write("a.json", R"({"framework": "scikit-learn", "script": "a.py",
    "profiles": {"old": {"framework_version": "1.5.2", "pip_packages": ["x"]}}})");
  LoadOptions options{.path = folder / "a.json", .profile = "old"};
  const auto old = load_run(options);
  REQUIRE(old);
  CHECK(texts(at(*old, "/environment/python/packages")) == Words{"scikit-learn==1.5.2", "scipy", "joblib", "x"});
  options.profile.reset();
  options.overrides.set = {"framework_version=1.8", "pip_packages=y"};
  const auto flag = load_run(options);
  REQUIRE(flag);
  CHECK(texts(at(*flag, "/environment/python/packages")) == Words{"scikit-learn==1.8.*", "scipy", "joblib", "y"});
  CHECK(to_string(*find_origin(flag->origins, "/environment/python/packages/3")) == "--set pip_packages=y");
}

TEST_CASE("packages, files and images", "[estimator]") {
  Folder folder;
  folder.write("req.txt", "torch==2.3.1\npandas\n");
  folder.write("plain.txt", "pandas\n");
  const auto packages = [&](std::string_view text) {
    return texts(at(load_estimator(folder, text), "/environment/python/packages"));
  };
  CHECK(packages(R"({"framework": "tensorflow", "script": "a.py"})") == Words{"tensorboard", "tensorflow-cpu==2.21.0"});
  CHECK(packages(R"({"framework": "tensorflow", "script": "a.py", "use_gpu": true})") ==
        Words{"tensorboard", "tensorflow[and-cuda]==2.21.0"});
  CHECK(packages(R"({"framework": "pytorch", "script": "a.py", "pip_packages": ["numpy==1.26.4"]})") ==
        Words{"torch==2.12.0", "torchvision", "numpy==1.26.4"});
  CHECK(packages(R"({"framework": "pytorch", "script": "a.py", "pip_packages": ["torch==1.13.1"]})") ==
        Words{"torch==1.13.1"});
  CHECK(packages(R"({"framework": "pytorch", "script": "a.py", "pip_requirements_file": "req.txt"})").empty());
  CHECK(packages(R"({"framework": "pytorch", "script": "a.py", "pip_requirements_file": "plain.txt"})").size() == 3);
  CHECK(packages(R"({"framework": "chainer", "script": "a.py", "distributed_training": "Mpi"})") ==
        Words{"chainer==7.8.1", "numpy<1.24", "setuptools==65.5.1", "protobuf<3.21", "mpi4py>=3.1", "openmpi>=5.0"});

  LoadedRun run =
      load_estimator(folder, R"({"framework": "chainer", "script": "a.py", "conda_packages": ["scipy=1.10"]})");
  CHECK(run.config.environment->python->build_constraints == Words{"setuptools==65.5.1"});
  CHECK(run.config.environment->python->conda_packages == Words{"scipy=1.10"});
  run = load_estimator(folder, R"({"framework": "pytorch", "script": "a.py", "use_gpu": true})");
  CHECK(run.config.environment->python->torch_backend == "auto");
  CHECK(run.config.resources.gpus == 1);
  run = load_estimator(folder, R"({"framework": "pytorch", "script": "a.py", "user_managed": true})");
  CHECK(run.config.environment->python->interpreter == "python3");
  run = load_estimator(folder, R"({"framework": "pytorch", "script": "a.py", "user_managed": true,
                                   "custom_docker_image": "img:1", "shm_size": "8g"})");
  CHECK(run.config.environment->container->image == "img:1");
  CHECK(run.config.environment->container->shm_size->bytes == UINT64_C(8) << 30U);
  CHECK_FALSE(run.config.environment->python);
  run = load_estimator(folder, R"({"framework": "pytorch", "script": "a.py", "custom_docker_image": "r.io/img:1",
                                   "image_registry_details": {"address": "r.io", "username": "me",
                                                              "password_secret": "REGISTRY_PASSWORD"},
                                   "secrets": ["REGISTRY_PASSWORD"]})");
  CHECK(run.config.environment->container->image == "r.io/img:1");
  CHECK(run.config.environment->container->registry ==
        ContainerRegistry{.address = "r.io", .username = "me", .password_secret = "REGISTRY_PASSWORD"});
  run = load_estimator(folder, R"({"framework": "generic", "script": "a.py"})");
  CHECK_FALSE(run.config.environment);
  run = load_estimator(folder, R"({"framework": "pytorch", "script": "a.py",
                                   "environment_definition": {"python": {"interpreter": "/usr/bin/python3"}}})");
  CHECK(run.config.environment->python->interpreter == "/usr/bin/python3");
  CHECK(run.config.environment->python->packages.empty());
  run = load_estimator(folder, R"({"framework": "scikit-learn", "script": "a.py",
                                   "environment": {"setup": ["module load x"], "python": {"version": "3.12"}}})");
  CHECK(run.config.environment->python->version == "3.12");
  CHECK(run.config.environment->python->packages.size() == 3);
  CHECK(run.config.environment->setup == Words{"module load x"});
}

TEST_CASE("a project's environment is not an estimator's", "[estimator]") {
  const Folder folder;
  folder.write("trainctl.json", R"({"environment": {"setup": ["module load x"], "python": {"venv": ".venv"}}})");
  const LoadedRun run = load_estimator(folder, R"({"framework": "scikit-learn", "script": "a.py"})");
  CHECK_FALSE(run.config.environment->python->venv);
  CHECK(run.config.environment->python->packages.size() == 3);
  CHECK(run.config.environment->setup == Words{"module load x"});
  CHECK(noted(run, "environment.python.venv"));
  CHECK(load_estimator(folder, R"({"framework": "generic", "script": "a.py"})").config.environment->python->venv);
}

TEST_CASE("distributed training in every spelling", "[estimator]") {
  Folder folder;
  const auto block = [&](const std::string& framework, const std::string& rest) {
    return base::dump_json(
        at(load_estimator(folder, R"({"script": "a.py", "framework": ")" + framework + "\"" + rest + "}"),
           "/distribution"));
  };
  for (const char* mpi : {"mpi", "Mpi", "IntelMpi", "OpenMpi", "MpiConfiguration"}) {
    CHECK(block("generic", std::string(R"(, "process_count_per_node": 2, "distributed_training": ")") + mpi + "\"") ==
          R"({"processes_per_node":2,"type":"mpi"})");
  }
  CHECK(block("pytorch", R"(, "distributed_training": {"type": "Gloo"}, "process_count_per_node": 2)") ==
        R"({"processes_per_node":2,"type":"pytorch","backend":"gloo"})");
  CHECK(block("pytorch", R"(, "distributed_training": "Nccl", "use_gpu": true)") ==
        R"({"type":"pytorch","backend":"nccl"})");
  CHECK(block("pytorch", R"(, "node_count": 2)") == R"({"type":"pytorch"})");
  CHECK(block("pytorch", R"(, "distributed_training": {"backend": "gloo", "process_count": 4, "node_count": 2})") ==
        R"({"type":"pytorch","processes_per_node":2,"backend":"gloo"})");
  for (const char* ps : {"ps", "ParameterServer", "parameter_server"}) {
    CHECK(block("tensorflow", std::string(R"(, "distributed_training": {"worker_count": 2, "type": ")") + ps + "\"}") ==
          R"({"type":"tensorflow","worker_count":2,"parameter_server_count":1})");
  }
  CHECK(block("tensorflow", R"(, "distributed_training": {"type": "multi_worker"}, "process_count_per_node": 2)") ==
        R"({"processes_per_node":2,"type":"tensorflow"})");
  CHECK(block("tensorflow", R"(, "distributed_training": {"type": "multi_worker", "worker_count": 2},
                              "process_count_per_node": 2)") == R"({"type":"tensorflow","worker_count":2})");
  CHECK(block("tensorflow", R"(, "worker_count": 2, "parameter_server_count": 1)") ==
        R"({"type":"tensorflow","worker_count":2,"parameter_server_count":1})");
  CHECK(block("generic", R"(, "process_count_per_node": 3)") == R"({"processes_per_node":3,"type":"processes"})");
  CHECK(block("generic", R"(, "distributed_training": "none")") == "null");
}

TEST_CASE("contradictions of estimators are named where they stand", "[estimator]") {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {R"({"type": "estimator", "script": "a.py"})",
       "the framework is missing   (write \"framework\": \"scikit-learn\" (trainctl estimator ls))"},
      {R"({"framework": "pytroch", "script": "a.py"})",
       "framework: there is no estimator \"pytroch\", did you mean \"pytorch\"?   --> a.json:1:15"},
      {R"({"framework": "scikit-learn", "script": "a.py", "framework_version": "1.55"})", ""},
      {R"({"framework": "scikit-learn", "script": "a.py", "framework_version": "0.30"})",
       "framework_version: there is no scikit-learn 0.30   --> a.json:1:70   (near it: 0.24.2, 0.23.2, 0.22.2, 0.21.3; "
       "trainctl estimator show scikit-learn lists what is known)"},
      {R"({"framework": "pytorch", "script": "a.py", "framework_version": "latest"})",
       "framework_version: \"latest\" is not a version   --> a.json:1:65   (like \"2.12.0\"; left out, it is that "
       "one)"},
      {R"({"framework": "pytorch", "script": "a.py", "framework_version": 2.10})",
       "framework_version: expected a text that is not empty, found number 2.10   --> a.json:1:65   (write \"2.10\": "
       "as "
       "a number 3.10 would mean 3.1)"},
      {R"({"framework": "generic", "script": "a.py", "framework_version": "1"})",
       "framework_version: generic has no version   --> a.json:1:65   (name the packages with their versions in "
       "\"pip_packages\")"},
      {R"({"framework": "pytorch", "script": "a.py", "pip_packages": ["x"], "environment": {"python": {"venv": "v"}}})",
       "\"pip_packages\" and \"environment\" exclude each other   --> a.json:1:60   (the environment "
       "says "
       "everything: move it there, or remove \"environment\")"},
      {R"({"framework": "scikit-learn", "script": "a.py", "node_count": 2})",
       "resources.nodes: scikit-learn trains on one machine, it cannot use 2 nodes   --> a.json:1:63   (remove it; to "
       "start the script on several nodes yourself: \"framework\": \"generic\")"},
      {R"({"framework": "scikit-learn", "script": "a.py", "distributed_training": "mpi"})",
       "distributed_training: scikit-learn cannot train with mpi   --> a.json:1:73   (it trains in one process: remove "
       "it)"},
      {R"({"framework": "chainer", "script": "a.py", "distributed_training": {"type": "parameter_server"}})",
       "distributed_training: Chainer cannot train with parameter_server   --> a.json:1:77   (it can with mpi)"},
      {R"({"framework": "chainer", "script": "a.py", "distributed_training": "mip"})",
       "distributed_training.type: \"mip\" is no way of distributing, did you mean \"mpi\"?   --> a.json:1:68"},
      {R"({"framework": "pytorch", "script": "a.py", "distributed_training": "nccl"})",
       "distributed_training: NCCL works between GPUs only   --> a.json:1:68   (write \"use_gpu\": true, or "
       "\"distributed_training\": \"gloo\")"},
      {R"({"framework": "pytorch", "script": "a.py", "distributed_training": {"type": "gloo", "worker_count": 2}})",
       "distributed_training.worker_count: only TensorFlow's parameter_server and multi_worker count workers   --> "
       "a.json:1:101   (write \"process_count_per_node\")"},
      {R"({"framework": "pytorch", "script": "a.py", "use_gpu": false, "resources": {"gpus": 2}})",
       "\"use_gpu\" is false, but \"resources.gpus\" is 2   --> a.json:1:55   (remove one of them)"},
      {R"({"framework": "pytorch", "script": "a.py", "user_managed": true, "pip_packages": ["x"]})",
       "\"user_managed\" installs nothing, so \"pip_packages\" would do nothing   --> a.json:1:82   "
       "(remove "
       "one of them)"},
      {R"({"framework": "pytorch", "script": "a.py", "framework_version": "2.3", "pip_packages": ["torch==2.4.1"]})",
       "\"framework_version\" and your packages both say which torch is installed   --> a.json:1:65 "
       "  "
       "(remove one of them)"},
      {R"({"framework": "pytorch", "script": "a.py", "use_docker": false, "custom_docker_image": "x"})",
       "\"use_docker\": false, but there is an image   --> a.json:1:58   (remove one of them)"},
      {R"({"framework": "keras", "script": "a.py", "process_count_per_node": 2, "distributed_training": "multi_worker"})",
       "distributed_training: Keras 3 on JAX does not know TensorFlow's ways of distributing   --> a.json:1:95   (take "
       "\"framework_version\": \"2.13\", which is Keras 2 on TensorFlow)"},
      {R"({"framework": "generic", "script": "a.py", "distributed_training": {"type": "mpi", "process_count_per_node": 2},
 "process_count_per_node": 3})",
       "distributed_training.process_count_per_node: \"distribution.processes_per_node\" is 3, here it is 2   --> "
       "a.json:1:110   (keep one of them)"},
  };
  const Folder folder;
  for (const auto& [text, expected] : cases) {
    INFO(text);
    const std::string found = mistakes(folder, text);
    CHECK(found.substr(0, expected.empty() ? found.size() : expected.size()) == expected);
  }
}

TEST_CASE("ten mistakes of an estimator come in one go", "[estimator]") {
  const Folder folder;
  const std::string found = mistakes(folder, R"({
  "type": "estimator",
  "framework": "chainer",
  "framework_version": "7.3",
  "entry_script": "../train.py",
  "distributed_training": { "type": "parameter_server" },
  "use_gpu": "yes",
  "pip_packages": ["--index-url=x"],
  "user_managed": true,
  "vm_priority": "low",
  "shm_sise": "2g",
  "limits": { "timeout": 7200 }
})");
  CHECK(std::count(found.begin(), found.end(), '\n') == 7);
  for (const char* part :
       {"unknown field \"shm_sise\", did you mean \"shm_size\"?   --> a.json:11:3", "use_gpu: expected true or false",
        "vm_priority: expected one of \"dedicated\", \"lowpriority\"", "limits.timeout: expected a duration",
        "framework_version: there is no Chainer 7.3   --> a.json:4:24   (near it: 7.4.0, 7.2.0,",
        "distributed_training: Chainer cannot train with parameter_server   --> a.json:6:37   (it can with mpi)",
        "\"user_managed\" installs nothing", "script: the script has to be inside the source directory"}) {
    INFO(part << "\nin\n" << found);
    CHECK(found.find(part) != std::string::npos);
  }
}

TEST_CASE("resume_from is the run configuration's own field", "[estimator]") {
  const Folder folder;
  const LoadedRun run = load_estimator(folder, R"({"framework": "generic", "script": "a.py", "resume_from": "old"})");
  CHECK(run.config.resume_from == "old");
  CHECK(run.config.inputs.empty());
  CHECK(run.config.arguments.empty());
}

TEST_CASE("hints become notes", "[estimator]") {
  const Folder folder;
  CHECK(noted(load_estimator(folder, R"({"framework": "tensorflow", "script": "a.py", "process_count_per_node": 2})"),
              "Keras 3"));
  CHECK_FALSE(noted(load_estimator(folder, R"({"framework": "tensorflow", "script": "a.py", "process_count_per_node": 2,
                                               "framework_version": "2.13.1"})"),
                    "Keras 3"));
  // Who installs TensorFlow knows its version, not we.
  CHECK_FALSE(noted(load_estimator(folder, R"({"framework": "tensorflow", "script": "a.py", "process_count_per_node": 2,
                                               "environment": {"python": {"venv": "v"}}})"),
                    "Keras 3"));
  CHECK(noted(load_estimator(folder, R"({"framework": "generic", "script": "a.py", "vm_size": "big"})"), "vm_size"));
  CHECK(noted(load_estimator(folder, R"({"framework": "scikit-learn", "script": "a.py", "framework_version": "9.0"})"),
              "newer than what this trainctl knows"));
}

TEST_CASE("presets are overridden by the project's and the user's", "[estimator]") {
  const Folder folder;
  folder.write(".trainctl/estimators/scikit-learn.json", R"({"extends": "scikit-learn", "default_version": "1.5.2"})");
  folder.write("config/estimators/mine.json", R"({"package": "foo", "default_version": "2.0", "aliases": ["my-own"],
    "versions": [{"packages": ["foo=={version}"], "known": ["2.0.0"]}], "variables": {"FOO": "1", "BAR": "2"}})");
  folder.write("a.json", R"({"framework": "scikit-learn", "script": "a.py"})");
  const LoadOptions options{.path = folder / "a.json", .user_config = folder / "config/config.json"};
  auto run = load_run(options);
  REQUIRE(run);
  CHECK(at(*run, "/environment/python/packages/0") == "scikit-learn==1.5.2");
  CHECK(run->lowered_from->preset == (folder / ".trainctl/estimators/scikit-learn.json").string());

  folder.write("a.json", R"({"framework": "MyOwn", "script": "a.py", "environment_variables": {"BAR": "3"}})");
  run = load_run(options);
  REQUIRE(run);
  CHECK(texts(at(*run, "/environment/python/packages")) == Words{"foo==2.0.*"});
  CHECK(run->config.environment_variables == TextMap{{"BAR", "3"}, {"FOO", "1"}});

  folder.write("config/estimators/mine.json", R"({"packages": [], "distributions": {"carrier_pigeon": {}}})");
  folder.write("a.json", R"({"framework": "mine", "script": "a.py"})");
  run = load_run(options);
  REQUIRE_FALSE(run);
  const std::string text = trainctl::test::describe_all(run.error(), folder);
  CHECK(text.find("unknown field \"packages\"") != std::string::npos);
  CHECK(text.find("\"carrier_pigeon\" is no way of distributing   --> config/estimators/mine.json:1:54") !=
        std::string::npos);
}

TEST_CASE("the built-in presets are without mistakes and lower to valid run configurations", "[estimator]") {
  const Folder folder;
  const Presets presets;
  CHECK(presets.names().size() >= 9);
  for (const std::string& name : presets.names()) {
    const auto found = presets.load(name);
    INFO(name << (found ? "" : trainctl::test::describe_all(found.error(), folder)));
    REQUIRE(found);
    Words versions = {""};
    for (const PresetVersions& range : found->preset.versions) {
      versions.insert(versions.end(), range.known.begin(), range.known.end());
      for (const std::string& known : range.known) {
        CHECK((!range.from || compare_releases(known, *range.from) >= 0));
        CHECK((!range.until || compare_releases(known, *range.until) < 0));
      }
    }
    for (const std::string& version : versions) {
      const std::string asked = version.empty() ? "" : R"(, "framework_version": ")" + version + "\"";
      for (const char* gpu : {"", R"(, "use_gpu": true)"}) {
        const LoadedRun run =
            load_estimator(folder, R"({"script": "a.py", "framework": ")" + name + "\"" + asked + gpu + "}");
        base::LocatedJson document;
        document.value = run.merged;
        Errors errors;
        check_document(document, run_table(), {}, errors);
        for (const Error& error : errors) FAIL_CHECK(describe(error));
      }
    }
  }
}

TEST_CASE("lowering is pure", "[estimator]") {
  Layer written;
  written.value = Json{{"framework", "pytorch"}, {"script", "a.py"}, {"pip_packages", Json::array({"x"})}};
  for (const char* pointer : {"/framework", "/script", "/pip_packages", "/pip_packages/0"})
    written.origins[pointer] = {.kind = Origin::Kind::file};
  const auto found = Presets().load("pytorch");
  REQUIRE(found);
  const Json before = written.value;
  Errors errors;
  const Lowered one = lower(written, {.found = &*found}, errors);
  const Lowered two = lower(written, {.found = &*found}, errors);
  CHECK(errors.empty());
  CHECK(one.run.value == two.run.value);
  CHECK(one.notes == two.notes);
  CHECK(written.value == before);
}
