// SPDX-License-Identifier: Apache-2.0
#include "spec/target.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "spec/layer.hpp"
#include "spec/load.hpp"
#include "spec/run_configuration.hpp"
#include "spec/target_file.hpp"
#include "spec/trust.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"
#include "unit/spec/files.hpp"

using namespace trainctl;
using namespace trainctl::spec;
using trainctl::test::Folder;

namespace {

/// The user's targets/ and a project's, in one folder.
struct Places : Folder {
  [[nodiscard]] TargetFolders folders() const {
    return {.project = path() / "project/targets", .user = path() / "user", .trusted = path() / "trusted.json"};
  }
  [[nodiscard]] ResultAll<TargetFile> read(std::string_view name) const {
    const auto place = find_target_file(folders(), name);
    REQUIRE(place);
    return read_target_file(*place, folders());
  }
};

std::vector<std::string> problems(const ResultAll<TargetFile>& result) {
  std::vector<std::string> lines;
  if (result) return lines;
  for (const Error& error : result.error()) lines.push_back(describe(error));
  return lines;
}

bool mentions(const std::vector<std::string>& lines, std::string_view text) {
  for (const std::string& line : lines) {
    if (line.find(text) != std::string::npos) return true;
  }
  return false;
}

Json defined(const ResultAll<TargetFile>& file) {
  REQUIRE(file);
  return target_definition(file->place.name, file->target);
}

}  // namespace

TEST_CASE("a target file becomes the definition that plans keep", "[target]") {
  const Places places;
  places.write("user/box.json", R"({ // a comment
    "type": "target", "host": "me@box", "ssh_config": "ssh/config", "directory": "~/t", })");
  CHECK(defined(places.read("box")) == Json({{"name", "box"},
                                             {"type", "ssh"},
                                             {"hosts", {"me@box"}},
                                             {"ssh_config", (places / "user/ssh/config").string()},
                                             {"directory", "~/t"},
                                             {"launcher", "process"}}));
  places.write("user/pair.json", R"({"hosts": ["a", "b"], "accept_new_host_keys": true})");
  CHECK(defined(places.read("pair"))["hosts"] == Json({"a", "b"}));
  CHECK_FALSE(defined(places.read("pair")).contains("addresses"));
  places.write("user/cabled.json", R"({"hosts": ["a", "b"], "addresses": ["10.1.0.1", "fe80::2"]})");
  CHECK(defined(places.read("cabled"))["addresses"] == Json({"10.1.0.1", "fe80::2"}));
  CHECK(defined(places.read("pair"))["accept_new_host_keys"] == true);
}

TEST_CASE("Slurm is a target of its own, or the launcher behind a host", "[target]") {
  const Places places;
  places.write("user/here.json", R"({"kind": "slurm"})");
  CHECK(defined(places.read("here")) == Json({{"name", "here"}, {"type", "slurm"}, {"launcher", "slurm"}}));
  places.write("user/implied.json",
               R"({"slurm": {"partition": "gpu", "mem": "4GiB", "options": ["--mail-type=END"]}})");
  const Json implied = defined(places.read("implied"));
  CHECK(implied["type"] == "slurm");
  const SlurmOptions options = read_slurm(implied["slurm"]);
  CHECK(options.partition == "gpu");
  CHECK(options.memory->bytes == 4ULL << 30U);
  CHECK(options.options == std::vector<std::string>{"--mail-type=END"});
  CHECK(options.environment_build == BuildOn::submit_host);
  places.write("user/login.json", R"({"kind": "slurm", "host": "login"})");
  const Json login = defined(places.read("login"));
  CHECK(login["type"] == "ssh");
  CHECK(login["launcher"] == "slurm");
}

TEST_CASE("all mistakes of a target file are told at once, with their places", "[target]") {
  const Places places;
  places.write("user/box.json", R"({"type": "target", "hosst": "x", "slurm": {"partiton": "a", "unpack": "here"},
"launcher": "slrum", "directory": 3, "defaults": {"resources": {"gpu": 1}}})");
  const auto told = problems(places.read("box"));
  for (const char* part :
       {"unknown field \"hosst\", did you mean \"host", "did you mean \"partition\"?", "slurm.unpack",
        "did you mean \"slurm\"?", "directory: expected", "defaults.resources.gpu", "box.json:2:13"}) {
    INFO(part);
    CHECK(mentions(told, part));
  }
}

TEST_CASE("what contradicts itself is refused", "[target]") {
  const Places places;
  const std::pair<const char*, const char*> cases[] = {
      {R"({})", "\"host\" is missing"},
      {R"({"host": "a", "hosts": ["b"]})", "say the same thing"},
      {R"({"host": "-oProxyCommand=x"})", "cannot be a host"},
      {R"({"host": "me@-x"})", "cannot be a host"},
      {R"({"host": "a b"})", "cannot be a host"},
      {R"({"hosts": ["a", "a"]})", "named twice"},
      {R"({"hosts": ["a", "b"], "addresses": ["10.1.0.1"]})", "1 addresses for 2"},
      {R"({"host": "a", "addresses": ["10.1.0.1"]})", "1 addresses for 0"},
      {R"({"hosts": ["a", "b"], "addresses": ["10.1.0.1", "b.example"]})", "no numeric address"},
      {R"({"hosts": ["a", "b"], "launcher": "slurm"})", "Slurm finds the nodes itself"},
      {R"({"host": "a", "launcher": "process", "slurm": {}})", "Slurm is asked for"},
      {R"({"kind": "local", "host": "a"})", "has no host"},
      {R"({"kind": "local", "slurm": {}})", "has no Slurm"},
      {R"({"kind": "slurm", "ssh_config": "x"})", "no host to reach"},
      {R"({"host": "a", "directory": "runs"})", "absolute path"},
      {R"({"host": "a", "directory": "~"})", "holds other things"},
      {R"({"host": "a", "slurm": {"options": ["mail"]}})", "no option of sbatch"},
      {R"({"kind": "scripted"})", "\"scenario\" is missing"},
      {R"({"host": "a", "defaults": {"target": "b"}})", "cannot send its runs"},
  };
  for (const auto& [text, expected] : cases) {
    places.write("user/t.json", text);
    INFO(text);
    CHECK(mentions(problems(places.read("t")), expected));
  }
}

TEST_CASE("what came with a repository needs trust for what may run commands", "[target]") {
  const Places places;
  places.write("project/targets/box.json", R"({"host": "box"})");
  CHECK(places.read("box"));
  places.write("project/targets/box.json", R"({"host": "box", "ssh_config": "config", "accept_new_host_keys": true,
"defaults": {"secrets": [{"name": "A", "command": ["id"]}]}})");
  CHECK(problems(places.read("box")).size() == 3);
  TrustList list;
  list.trust(places / "project/targets/box.json", *base::read_file(places / "project/targets/box.json"));
  REQUIRE(list.save(places / "trusted.json"));
  CHECK(places.read("box"));

  // A project must not quietly send what is meant for the user's machine elsewhere.
  places.write("project/targets/mine.json", R"({"host": "elsewhere"})");
  places.write("user/mine.json", R"({"host": "mine"})");
  const auto told = problems(places.read("mine"));
  CHECK(mentions(told, "hides your own target"));
  const auto all = list_target_files(places.folders());
  REQUIRE(all.size() == 3);
  CHECK((all[1].project && !all[1].hidden));
  CHECK((!all[2].project && all[2].hidden));
}

TEST_CASE("defaults of a target lie below everything else, and are told as its", "[target][load]") {
  Places places;
  places.write("user/box.json", R"({"host": "box",
"defaults": {"resources": {"cpus": 4, "gpus": 1}, "environment_variables": {"A": "target", "B": "target"}}})");
  places.write("x.run.json", R"({"script": "t.py", "target": "box", "resources": {"gpus": 2},
"environment_variables": {"A": "file"}, "on": {"box": {"priority": 5}, "local": {"priority": 7}}})");
  LoadOptions options{.path = places / "x.run.json"};
  options.target_defaults = [&](const std::string& name, const fs::path&) -> std::optional<Layer> {
    const auto place = find_target_file(places.folders(), name);
    if (!place) return std::nullopt;
    return read_target_file(*place, places.folders())->defaults;
  };
  const auto run = load_run(options);
  REQUIRE(run);
  CHECK(run->config.resources.cpus == 4.0);
  CHECK(run->config.resources.gpus == 2);
  CHECK(run->config.priority == 5);
  CHECK(run->config.environment_variables == TextMap{{"A", "file"}, {"B", "target"}});
  CHECK(to_string(run->origins.at("/resources/cpus")).starts_with("target box ("));
  CHECK(to_string(run->origins.at("/resources/cpus")).find("user/box.json:2:") != std::string::npos);
}

TEST_CASE("a run may describe its target instead of naming it", "[target][load]") {
  const Folder folder;
  folder.write("x.run.json", R"({"script": "t.py", "target": {"host": "me@box", "directory": "/scratch/me"},
"on": {"me@box": {"priority": 5}}})");
  const auto run = load_run({.path = folder / "x.run.json"});
  REQUIRE(run);
  CHECK(run->config.target == "me@box");
  CHECK(run->config.priority == 5);
  REQUIRE(run->config.target_object);
  CHECK(target_definition("me@box", read_target(*run->config.target_object))["directory"] == "/scratch/me");

  const auto moved = load_run({.path = folder / "x.run.json", .overrides = {.target = "local"}});
  REQUIRE(moved);
  CHECK(moved->config.target == "local");
  CHECK_FALSE(moved->config.target_object);

  const auto changed = load_run({.path = folder / "x.run.json", .overrides = {.set = {"target.directory=~/x"}}});
  REQUIRE(changed);
  CHECK((*changed->config.target_object)["directory"] == "~/x");

  folder.write("y.run.json", R"({"script": "t.py", "target": {"host": "-x", "hots": 1, "slurm": {"partition": ""}}})");
  const auto wrong = load_run({.path = folder / "y.run.json"});
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().size() == 3);
}
