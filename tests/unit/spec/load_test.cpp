// SPDX-License-Identifier: Apache-2.0
#include "spec/load.hpp"

#include <stdint.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "spec/layer.hpp"
#include "spec/run_configuration.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"
#include "unit/spec/files.hpp"

using namespace trainctl;
using namespace trainctl::spec;
using trainctl::test::Folder;

namespace {

constexpr const char* kExample = R"({
  "type": "run",                                          // run (default) | estimator | pipeline | sweep | target
  "name": "digits", "experiment": "digits-svc",
  "script": "train.py",                                   // or "module"
  "source_directory": ".", "working_directory": ".",
  "parameters": { "lr": 0.1, "epochs": 3, "amp": true },  // → --lr 0.1 --epochs 3 --amp
  "arguments": ["--data", "${{inputs.digits}}"],
  "target": "local",
  "environment": { "python": { "version": "3.11", "packages": ["scikit-learn==1.5.2"] },
                   "setup": ["module load cuda/12"], "container": null },
  "environment_variables": { "OMP_NUM_THREADS": "2" }, "secrets": ["HF_TOKEN"],
  "inputs":  { "digits": "data/digits.csv" },
  "outputs": { "model": { "path": "model.joblib", "register_model": "digits" } },
  "resources": { "nodes": 1, "cpus": 2, "memory": "4GiB", "gpus": 0 },
  "distribution": { "type": "processes", "processes_per_node": 2 },
  "limits": { "timeout": "2h", "queue_timeout": "1h", "idle": "20m" },
  "retry": { "max": 1, "on": ["preempted", "exit:137"], "backoff": "30s", "resume": true },
  "stop": { "signal": "SIGINT", "grace": "30s", "warn": "5m", "warn_signal": "SIGUSR2" },
  "metrics": { "primary": "accuracy", "goal": "maximize", "patterns": ["epoch {step}: loss {loss}"] },
  "tags": { "team": "vision" },
}
)";

std::vector<std::string> problems(const ResultAll<LoadedRun>& result) {
  std::vector<std::string> lines;
  if (result) return lines;
  for (const Error& error : result.error()) lines.push_back(describe(error));
  return lines;
}

}  // namespace

TEST_CASE("the run configuration of the design loads", "[load]") {
  const Folder folder;
  folder.write("digits.run.json", kExample);
  const auto run = load_run({.path = folder / "digits.run.json"});
  INFO((run ? "" : describe(run.error().front())));
  REQUIRE(run);
  const RunConfiguration& config = run->config;
  CHECK(run->name == "digits");
  CHECK(run->base_directory == folder.path());
  CHECK(config.script == "train.py");
  REQUIRE(config.parameters.size() == 3);
  CHECK(config.parameters[0] == Parameter{"lr", Scalar(0.1)});
  CHECK(config.parameters[1] == Parameter{"epochs", Scalar(std::int64_t{3})});
  CHECK(config.parameters[2] == Parameter{"amp", Scalar(true)});
  CHECK(config.arguments == std::vector<std::string>{"--data", "${{inputs.digits}}"});
  REQUIRE(config.environment);
  REQUIRE(config.environment->python);
  CHECK(config.environment->python->version == "3.11");
  CHECK(config.environment->python->packages == std::vector<std::string>{"scikit-learn==1.5.2"});
  CHECK_FALSE(config.environment->container);
  REQUIRE(config.secrets.size() == 1);
  CHECK(config.secrets[0].name == "HF_TOKEN");
  REQUIRE(config.inputs.size() == 1);
  CHECK(config.inputs[0].name == "digits");
  CHECK(config.inputs[0].source == "data/digits.csv");
  REQUIRE(config.outputs.size() == 1);
  CHECK(config.outputs[0].register_model == "digits");
  CHECK(config.resources.memory->bytes == UINT64_C(4) << 30U);
  CHECK(config.resources.gpus == 0);
  CHECK(config.distribution->processes_per_node == 2);
  CHECK(config.limits.timeout == std::chrono::hours(2));
  CHECK(config.retry.on == std::vector<std::string>{"preempted", "exit:137"});
  CHECK(config.retry.resume);
  CHECK(config.stop.warn == std::chrono::minutes(5));
  CHECK(config.metrics.patterns.size() == 1);
  CHECK(config.tags == TextMap{{"team", "vision"}});
  CHECK(to_string(*find_origin(run->origins, "/limits/timeout")) == (folder / "digits.run.json").string() + ":16:26");
}

TEST_CASE("all mistakes of a file come in one go", "[load]") {
  const Folder folder;
  const std::string file = (folder / "digits.run.json").string();
  folder.write("digits.run.json", R"({
  "script": "train.py",
  "enviroment": { "python": { "version": 3.11, "pakages": [] } },
  "limits": { "timeout": 7200 },
  "shell": "bsh"
}
)");
  CHECK(problems(load_run({.path = file})) ==
        std::vector<std::string>{
            "unknown field \"enviroment\", did you mean \"environment\"?   --> " + file + ":3:3",
            "environment.python.version: expected text, found number 3.11   --> " + file +
                ":3:42   (write \"3.11\": as a number 3.10 would mean 3.1)",
            "environment.python.pakages: unknown field \"pakages\", did you mean \"packages\"?   --> " + file + ":3:48",
            "limits.timeout: expected a duration such as \"90s\", \"20m\" or \"2h30m\", found number 7200   --> " +
                file + ":4:26   (write \"7200s\" if seconds are meant)",
            "shell: expected one of \"bash\", \"sh\", found text \"bsh\"   --> " + file +
                ":5:12   (did you mean \"bash\"?)",
        });
}
