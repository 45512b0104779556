// SPDX-License-Identifier: Apache-2.0
// Where values come from: aliases, extends, profiles, targets, project, flags, scripts without a file.
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "spec/expand.hpp"
#include "spec/layer.hpp"
#include "spec/load.hpp"
#include "spec/overrides.hpp"
#include "spec/run_configuration.hpp"
#include "spec/trust.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"
#include "unit/spec/files.hpp"

using namespace trainctl;
using namespace trainctl::spec;
using trainctl::test::Folder;

namespace {

/// The problems with the folder's name taken off; one line each.
std::string problems(const ResultAll<LoadedRun>& result, const Folder& folder) {
  if (result) return "";
  std::string text;
  for (const Error& error : result.error()) text += (text.empty() ? "" : "\n") + describe(error);
  const std::string prefix = folder.path().string() + "/";
  for (std::size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix))
    text.erase(at, prefix.size());
  return text;
}

std::string origin(const LoadedRun& run, const std::string& pointer, const Folder& folder) {
  const Origin* found = find_origin(run.origins, pointer);
  if (found == nullptr) return "nothing";
  std::string text = to_string(*found);
  const std::string prefix = folder.path().string() + "/";
  if (const std::size_t at = text.find(prefix); at != std::string::npos) text.erase(at, prefix.size());
  return text;
}

std::string problems_of(const Folder& folder, std::string_view text) {
  folder.write("a.json", text);
  return problems(load_run({.path = folder / "a.json"}), folder);
}

}  // namespace

TEST_CASE("the SDK's words are understood", "[compose]") {
  const Folder folder;
  folder.write("a.json", R"({
    "entry_script": "train.py", "script_params": { "--lr": 0.1, "--amp": "" }, "compute_target": "gpubox",
    "code": "src", "experiment_name": "e", "node_count": 2, "process_count_per_node": 4,
    "max_run_duration_seconds": 3600, "pip_packages": ["pillow"],
    "metrics": { "primary_metric": "loss" } })");
  const auto run = load_run({.path = folder / "a.json"});
  INFO(problems(run, folder));
  REQUIRE(run);
  CHECK(base::dump_json(run->merged) ==
        R"({"metrics":{"primary":"loss"},"script":"train.py","parameters":{"lr":0.1,"amp":true},"target":"gpubox",)"
        R"("source_directory":"src","experiment":"e","resources":{"nodes":2},"distribution":{"processes_per_node":4},)"
        R"("limits":{"timeout":"3600s"},"environment":{"python":{"packages":["pillow"]}}})");
  CHECK(run->config.limits.timeout == std::chrono::hours(1));
  CHECK(run->config.environment->python->packages.size() == 1);
  CHECK(origin(*run, "/resources/nodes", folder) == "a.json:3:58");
}

TEST_CASE("two words for one thing are an error", "[compose]") {
  const Folder folder;
  CHECK(problems_of(folder, R"({"script": "a.py", "entry_script": "b.py"})") ==
        "\"entry_script\" and \"script\" say the same thing   --> a.json:1:20   (keep only \"script\")");
  CHECK(
      problems_of(folder, R"({"script": "a.py", "node_count": 2, "resources": {"nodes": 2}})") ==
      "\"node_count\" and \"resources.nodes\" say the same thing   --> a.json:1:20   (keep only \"resources.nodes\")");
  CHECK(problems_of(folder, R"({"script": "a.py", "compute": "a", "compute_target": "b"})") ==
        "target: \"compute_target\" and \"compute\" say the same thing   --> a.json:1:36   (keep only \"target\")");
}

TEST_CASE("values merge in the documented order", "[compose]") {
  const Folder folder;
  folder.write("user.json", R"({"tags": {"user": "u", "who": "user"}, "experiment": "user"})");
  folder.write("repo/.git/HEAD", "");
  folder.write("repo/trainctl.json", R"({"tags": {"who": "project", "project": "p"}, "source_directory": "src",
    "profiles": {"smoke": {"parameters": {"epochs": 2}}}})");
  folder.write("repo/base/base.run.json",
               R"({"tags": {"who": "base"}, "parameters": {"lr": 1, "epochs": 100, "drop": 0.5},
    "environment": {"python": {"requirements_file": "req.txt"}}, "limits": {"timeout": "1h", "idle": "5m"}})");
  folder.write("repo/jobs/digits.run.json", R"({"extends": "../base/base.run.json", "script": "train.py",
    "tags": {"who": "file"}, "parameters": {"lr": 2, "drop": null}, "limits": {"timeout": "2h"},
    "profiles": {"smoke": {"tags": {"who": "profile"}, "limits": {"timeout": "10m"}}},
    "on": {"gpubox": {"tags": {"who": "on", "gpu": "yes"}, "resources": {"gpus": 1}}}})");
  LoadOptions options{.path = folder / "repo/jobs/digits.run.json", .user_config = folder / "user.json"};
  const auto run = load_run(options);
  INFO(problems(run, folder));
  REQUIRE(run);
  CHECK(base::dump_json(run->merged["tags"]) == R"({"user":"u","who":"file","project":"p"})");
  CHECK(base::dump_json(run->merged["parameters"]) == R"({"lr":2,"epochs":100})");
  CHECK(run->config.experiment == "user");
  CHECK(run->config.source_directory == "../src");
  CHECK(run->config.environment->python->requirements_file == "../base/req.txt");
  CHECK(origin(*run, "/limits/timeout", folder) == "repo/jobs/digits.run.json:2:91");
  CHECK(origin(*run, "/limits/idle", folder) == "repo/base/base.run.json:2:102");
  CHECK(origin(*run, "/source_directory", folder) == "repo/trainctl.json:1:66");
  CHECK(run->sources.size() == 4);

  options.profile = "smoke";
  options.overrides = {
      .set = {"limits.queue_timeout=3m", "resources.gpus=0"}, .parameters = {"lr=0.01"}, .target = "gpubox"};
  const auto variant = load_run(options);
  INFO(problems(variant, folder));
  REQUIRE(variant);
  CHECK(base::dump_json(variant->merged["tags"]) == R"({"user":"u","who":"profile","project":"p","gpu":"yes"})");
  CHECK(base::dump_json(variant->merged["parameters"]) == R"({"lr":0.01,"epochs":2})");
  CHECK(variant->config.resources.gpus == 0);
  CHECK(variant->config.target == "gpubox");
  CHECK(origin(*variant, "/limits/timeout", folder) == "profile smoke (repo/jobs/digits.run.json:3:78)");
  CHECK(origin(*variant, "/tags/gpu", folder) == "on gpubox (repo/jobs/digits.run.json:4:52)");
  CHECK(origin(*variant, "/parameters/lr", folder) == "-p lr=0.01");
  CHECK(origin(*variant, "/target", folder) == "--target gpubox");

  options.profile = "smok";
  CHECK(problems(load_run(options), folder) ==
        "there is no profile \"smok\", did you mean \"smoke\"?   (there are: smoke)");
}

TEST_CASE("an environment may stand in a file of its own", "[compose]") {
  const Folder folder;
  folder.write("envs/torch.json", R"({"python": {"version": "3.11", "conda_file": "conda.yml"}})");
  folder.write("a.json", R"({"script": "a.py", "environment": "envs/torch.json"})");
  auto run = load_run({.path = folder / "a.json"});
  INFO(problems(run, folder));
  REQUIRE(run);
  CHECK(run->config.environment->python->conda_file == "envs/conda.yml");
  CHECK(run->config.environment->reference == "envs/torch.json");
  CHECK(origin(*run, "/environment/python/version", folder) == "envs/torch.json:1:24");
  folder.write("envs/torch.json", R"({"python": {"version": 3.10}})");
  run = load_run({.path = folder / "a.json"});
  CHECK(
      problems(run, folder) ==
      "python.version: expected text, found number 3.10   --> envs/torch.json:1:24   (write \"3.10\": as a number 3.10 "
      "would mean 3.1)");
  CHECK(problems_of(folder, R"({"script": "a.py", "environment": "envs/no.json"})").find("--> a.json:1:35") !=
        std::string::npos);
}

TEST_CASE("extends that goes round is found", "[compose]") {
  const Folder folder;
  folder.write("a.json", R"({"script": "a.py", "extends": "b.json"})");
  folder.write("b.json", R"({"extends": "a.json"})");
  CHECK(problems(load_run({.path = folder / "a.json"}), folder) ==
        "\"extends\" goes round in a circle: a.json   --> b.json:1:13");
  CHECK(problems_of(folder, R"({"script": "a.py", "extends": "no.json"})").find("--> a.json:1:31") !=
        std::string::npos);
}

TEST_CASE("a project cannot run commands of its own", "[compose]") {
  const Folder folder;
  folder.write("trainctl.json", R"({"secrets": [{"name": "X", "command": ["sh", "-c", "id"]}]})");
  folder.write("a.json", R"({"script": "a.py"})");
  LoadOptions options{.path = folder / "a.json"};
  const auto refused = load_run(options);
  REQUIRE_FALSE(refused);
  CHECK(refused.error()[0].code == Errc::denied);
  CHECK(problems(refused, folder)
            .starts_with(
                "secrets[0].command: a secret's command in trainctl.json needs your trust   --> trainctl.json:1:39"));
  options.trusted = folder / "config" / "trusted.json";
  CHECK_FALSE(load_run(options));  // nobody has trusted it yet
  const std::string settings = *base::read_file(folder / "trainctl.json");
  TrustList list;
  list.trust(folder / "trainctl.json", settings);
  REQUIRE(list.save(*options.trusted));
  CHECK(load_run(options));
  folder.write("trainctl.json", settings + "\n");  // what was trusted was another content
  CHECK_FALSE(load_run(options));
  folder.write("trainctl.json", settings);
  REQUIRE(list.revoke(folder / "trainctl.json"));
  REQUIRE(list.save(*options.trusted));
  CHECK_FALSE(load_run(options));
  folder.write("config/trusted.json", "{");
  CHECK_FALSE(load_run(options));
  options = {.path = folder / "a.json", .use_project = false};
  CHECK(load_run(options));
}

TEST_CASE("the option --set is read by the field's type", "[compose]") {
  Folder folder;
  folder.write("a.json", R"({"script": "a.py", "limits": {"idle": "5m"}})");
  const auto with = [&](std::vector<std::string> set) {
    return load_run({.path = folder / "a.json", .overrides = {.set = std::move(set)}});
  };
  const auto run = with({"environment.python.version=3.11", "resources.cpus=1.5", "arguments=--x", "in_place=true",
                         "parameters.a.b=x=y", "node_count=2", "limits.idle=null", "max_run_duration_seconds=60",
                         "environment_variables.A=1", "inputs.d=data/x", "metrics.system=false", "keep=[\"a\",\"b\"]"});
  INFO(problems(run, folder));
  REQUIRE(run);
  CHECK(run->config.environment->python->version == "3.11");
  CHECK(run->config.resources.cpus == 1.5);
  CHECK(run->config.resources.nodes == 2);
  CHECK(run->config.arguments == std::vector<std::string>{"--x"});
  CHECK(run->config.in_place);
  CHECK(run->config.parameters[0] == Parameter{"a.b", Scalar(std::string("x=y"))});
  CHECK_FALSE(run->config.limits.idle);
  CHECK(run->config.limits.timeout == std::chrono::minutes(1));
  CHECK(run->config.environment_variables == TextMap{{"A", "1"}});
  CHECK(run->config.inputs[0].source == "data/x");
  CHECK_FALSE(run->config.metrics.system.enabled);
  CHECK(run->config.keep.size() == 2);

  CHECK(problems(with({"limits.timeot=1h"}), folder) ==
        "--set limits.timeot=1h: there is no field \"timeot\" in \"limits.timeot\", did you mean \"timeout\"?");
  CHECK(problems(with({"resources.gpus=two"}), folder) ==
        "resources.gpus: expected a whole number from 0 to 1024, found text \"two\" (--set resources.gpus=two)");
  CHECK(problems(with({"x"}), folder) == "--set x: expected FIELD=VALUE   (for example --set limits.timeout=2h)");
  CHECK(problems(with({"script.x=1"}), folder).starts_with("--set script.x=1: \"script\" has no fields"));
}

TEST_CASE("parameters given as flags keep their type", "[compose]") {
  CHECK(parse_scalar("0.1").is_number_float());
  CHECK(parse_scalar("3") == 3);
  CHECK(parse_scalar("1e-3") == "1e-3");
  CHECK(parse_scalar("007") == "007");
  CHECK(parse_scalar("true") == true);
  CHECK(parse_scalar("null").is_null());
  CHECK(parse_scalar("") == "");
}

TEST_CASE("a script's own command line comes out as it went in", "[compose]") {
  using Words = std::vector<std::string>;
  const Words lines[] = {
      {},
      {"--lr", "0.1"},
      {"--lr", "1e-3", "--amp", "--epochs", "3"},
      {"--lr=0.1", "--amp", "--name=x y"},
      {"--lr=0.1", "--epochs", "3"},
      {"--lr", "0.1", "data.csv", "--after"},
      {"data.csv", "--lr", "0.1"},
      {"--x", "-3", "--y", "-z"},
      {"--lr", "1", "--lr", "2"},
      {"--", "--lr"},
      {"-v", "--lr", "1"},
      {"--flag", "true", "--none", "null"},
      {"--empty", "", "--text", "${{inputs.x}}"},
      {"--k=", "--j"},
  };
  const Folder folder;
  for (const Words& line : lines) {
    const auto run = run_from_script("train.py", line, {.directory = folder.path()});
    INFO(base::join(line, " "));
    if (base::join(line, " ").find("${{") != std::string::npos) continue;
    INFO(problems(run, folder));
    REQUIRE(run);
    const auto made = expand_run(run->config, {});
    REQUIRE(made);
    CHECK(made->words == line);
  }
  const auto run = run_from_script("train.py", {"--lr", "0.1", "--epochs", "3", "--amp"}, {.directory = folder.path()});
  REQUIRE(run);
  CHECK(run->name == "train");
  CHECK(base::dump_json(run->merged) ==
        R"({"script":"train.py","parameters":{"lr":0.1,"epochs":3,"amp":true},"parameter_style":"--k v"})");
}

TEST_CASE("a script outside the folder brings its own source directory", "[compose]") {
  const Folder folder;
  const auto run = run_from_script("../other/train.py", {}, {.directory = folder.path()});
  REQUIRE(run);
  CHECK(run->config.script == "train.py");
  CHECK(run->config.source_directory == "../other");
  const auto inside = run_from_script((folder / "pkg/train.py").string(), {}, {.directory = folder.path()});
  REQUIRE(inside);
  CHECK(inside->config.script == "pkg/train.py");
  CHECK(inside->config.source_directory == ".");
}

TEST_CASE("a command is taken word by word", "[compose]") {
  const Folder folder;
  const auto run = run_from_command({"sh", "-c", "echo ${{x}}"}, {.directory = folder.path()});
  INFO(problems(run, folder));
  REQUIRE(run);
  CHECK(run->name == "sh");
  CHECK(expand_run(run->config, {})->words == std::vector<std::string>{"sh", "-c", "echo ${{x}}"});
  CHECK_FALSE(run_from_command({}, {.directory = folder.path()}));
}
