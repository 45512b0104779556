// SPDX-License-Identifier: Apache-2.0
#include "spec/validate.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "spec/load.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"
#include "unit/spec/files.hpp"

using namespace trainctl;
using namespace trainctl::spec;
using trainctl::test::Folder;

namespace {

std::string shorten(std::string text, const Folder& folder) {
  const std::string prefix = folder.path().string() + "/";
  for (std::size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix))
    text.erase(at, prefix.size());
  return text;
}

std::string join(const Errors& errors, const Folder& folder) {
  std::string text;
  for (const Error& error : errors) text += (text.empty() ? "" : "\n") + describe(error);
  return shorten(text, folder);
}

}  // namespace

TEST_CASE("contradictions are named where they stand", "[validate]") {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"{}", "there is nothing to run   (write \"script\": \"train.py\", or \"module\", or \"command\")"},
      {"{\"scrpt\": \"a.py\"}", "unknown field \"scrpt\", did you mean \"script\"?   --> a.json:1:2"},
      {R"({"script": "a.py", "command": "b"})",
       "\"script\" and \"command\" exclude each other   --> a.json:1:31   (keep one of them)"},
      {R"({"script": "../a.py"})",
       "script: the script has to be inside the source directory   --> a.json:1:12   (set \"source_directory\" to a "
       "folder "
       "above it)"},
      {R"({"script": "a.sh"})",
       "script: \"a.sh\" is not a Python script   --> a.json:1:12   (write \"command\": [\"bash\", \"a.sh\"])"},
      {R"({"command": "a", "arguments": ["b"]})",
       "arguments: a command text takes no arguments   --> a.json:1:31   (write them into the text)"},
      {R"({"script": "a.py", "limits": {"timeout": "1h", "idle": "2h"}})",
       "limits.idle: \"idle\" (2 h) would never be reached before \"timeout\" (1 h)   --> a.json:1:56   "
       "(make it "
       "shorter)"},
      {R"({"script": "a.py", "limits": {"timeout": "0s"}})",
       "limits.timeout: 0 would end the run at once   --> a.json:1:42   (leave it out for no limit)"},
      {R"({"script": "a.py", "retry": {"max": 1, "on": ["preemted"]}})",
       "retry.on[0]: \"preemted\" is nothing a run ends with, did you mean \"preempted\"?   --> a.json:1:47"},
      {R"({"script": "a.py", "retry": {"max": 1, "on": ["exit:300"]}})",
       "retry.on[0]: \"exit:300\" is nothing a run ends with   --> a.json:1:47   (a code from 1 to 255, like "
       "\"exit:137\")"},
      {R"({"script": "a.py", "retry": {"max": 2}})",
       "retry.max: it does not say after what to try again   --> a.json:1:37   (add \"on\": [\"failed\"])"},
      {R"({"script": "a.py", "stop": {"signal": "INT"}})",
       "stop.signal: \"INT\" is not a signal   --> a.json:1:39   (write \"SIGINT\")"},
      {R"({"script": "a.py", "resources": {"memory": "4"}})",
       "resources.memory: only 4 bytes: too little for any script   --> a.json:1:44   (write the unit: \"4GiB\")"},
      {R"({"script": "a.py", "resources": {"gpus": 1.5}})",
       "resources.gpus: expected a whole number from 0 to 1024, found number 1.5   --> a.json:1:42"},
      {R"({"script": "a.py", "distribution": {"type": "pytroch"}})",
       "distribution.type: expected one of \"processes\", \"pytorch\", \"mpi\", \"tensorflow\", found text "
       "\"pytroch\"   --> a.json:1:45   (did you mean \"pytorch\"?)"},
      {R"({"script": "a.py", "distribution": {"type": "mpi", "backend": "gloo"}})",
       "distribution.backend: \"backend\" is for the type \"pytorch\", this is \"mpi\"   --> a.json:1:63   "
       "(remove it)"},
      {R"({"script": "a.py", "distribution": {"worker_count": 2}})",
       "distribution.worker_count: \"worker_count\" is for the type \"tensorflow\", and \"type\" is missing   --> "
       "a.json:1:53   (add \"type\": \"tensorflow\")"},
      {R"({"script": "a.py", "distribution": {"type": "nccl", "backend": "gloo"}})",
       "distribution: \"nccl\" and \"backend\": \"gloo\" contradict each other   --> a.json:1:45   (write \"type\": "
       "\"pytorch\")"},
      {R"({"script": "a.py", "distribution": "nccl", "resources": {"gpus": 0}})",
       "distribution.backend: nccl needs GPUs, and resources.gpus is 0   --> a.json:1:36   (write \"gloo\", or ask for "
       "GPUs)"},
      {R"({"script": "a.py", "distribution": {"type": "ps", "worker_count": 2, "processes_per_node": 3}})",
       "distribution.worker_count: \"worker_count\" and \"processes_per_node\" both say how many processes there are   "
       "--> a.json:1:67   (keep worker_count)"},
      {R"({"script": "a.py", "distribution": "mpi", "logs": "pty"})",
       "logs.via: processes started by mpiexec write their logs themselves   --> a.json:1:51   (remove it: \"file\" is "
       "the only way)"},
      {R"({"script": "a.py", "inputs": {"1x": "a"}})",
       "inputs: \"1x\" is not a name   --> a.json:1:31   (a letter, then letters, digits and _, at most 63)"},
      {R"({"script": "a.py", "outputs": {"m": {}, "M": {}}})",
       "outputs: \"M\" and \"m\" differ only in case; scripts could not tell them apart   --> a.json:1:41"},
      {R"({"script": "a.py", "outputs": {"m": "../x"}})",
       "outputs.m.path: it has to be inside outputs/   --> a.json:1:37   (a relative path without ..; files elsewhere: "
       "\"keep\")"},
      {R"({"script": "a.py", "environment": {"python": {"venv": ".venv", "conda_file": "c.yml"}}})",
       "environment.python: \"venv\" and \"conda_file\" exclude each other   --> a.json:1:78   (keep one of them)"},
      {R"({"script": "a.py", "environment": {"python": {"packages": ["--index-url=x"]}}})",
       "environment.python.packages[0]: options do not belong here   --> a.json:1:60   (indexes: \"index_urls\"; "
       "requirements: \"requirements_file\")"},
      {R"({"script": "a.py", "secrets": ["A", "A"]})", "secrets[1]: \"A\" is named twice   --> a.json:1:37"},
      {R"({"script": "a.py", "arguments": ["x ${{inputs.d}}"]})",
       "arguments[0]: there is no input \"d\"   --> a.json:1:37"},
      {R"({"command": "echo '${{inputs.d}}'", "inputs": {"d": "x"}})",
       "command: ${{inputs.d}} cannot be used in single quotes   --> a.json:1:20   (assign it first: x=${{inputs.d}}; "
       "then "
       "use \"$x\")"},
      {R"({"script": "a.py", "packages": ["x"]})",
       "unknown field \"packages\", did you mean \"environment.python.packages\"?   --> a.json:1:20"},
      {R"({"script": "a.py", "parameters": {"a": {"b": 1}}})",
       "parameters.a: expected a text, a number, true, false, null or a list of these, found an object   --> "
       "a.json:1:40   "
       "(write its fields as parameters of their own)"},
      {R"({"script": "a.py", "arguments": "x"})",
       "arguments: expected a list, found text \"x\"   --> a.json:1:33   (write [\"x\"])"},
      {R"({"script": "a.py", "metrics": {"patterns": ["loss"]}})",
       "metrics.patterns[0]: this pattern names no metric   --> a.json:1:45   (write {loss} where the number stands, "
       "or "
       "(?P<loss>…))"},
      {R"({"script": "a.py", "target": "-oProxyCommand=x"})",
       "target: \"-oProxyCommand=x\" cannot be a target   --> a.json:1:30   (local, a target's name, or user@host)"},
      {R"({"type": "pipeline", "steps": {}})",
       "type: this file is a pipeline, not a run configuration   --> a.json:1:10   (this version runs run "
       "configurations (\"type\": \"run\") and estimators (\"type\": \"estimator\"))"},
      {"[]", "expected an object, found an empty list   --> a.json:1:1   (write { … } around it)"},
  };
  const Folder folder;
  for (const auto& [text, expected] : cases) {
    INFO(text);
    folder.write("a.json", text);
    const auto run = load_run({.path = folder / "a.json"});
    CHECK((run ? "" : join(run.error(), folder)) == expected);
  }
}

TEST_CASE("a literal secret is refused and not repeated", "[validate]") {
  const Folder folder;
  const std::string key = "AK" + std::string("IAIOSFODNN7EXAMPLE");
  folder.write("a.json", R"({"script": "a.py", "environment_variables": {"K": ")" + key + "\"}}");
  const auto run = load_run({.path = folder / "a.json"});
  REQUIRE_FALSE(run);
  const std::string text = join(run.error(), folder);
  CHECK(text.starts_with("environment_variables.K: this looks like an AWS access key   --> a.json:1:51"));
  CHECK(text.find(key) == std::string::npos);
}

TEST_CASE("files that are not there are named with what is", "[validate]") {
  Folder folder;
  folder.write("src/train.py", "");
  folder.write("src/pkg/eval.py", "");
  folder.write("req.txt", "");
  folder.write("data/digits.csv", "");
  const auto check = [&](std::string_view text) {
    folder.write("a.json", text);
    const auto run = load_run({.path = folder / "a.json"});
    REQUIRE(run);
    return join(check_files(run->config, run->base_directory, run->origins), folder);
  };
  CHECK(check(R"({"script": "train.py", "source_directory": "src"})").empty());
  CHECK(check(R"({"script": "trian.py", "source_directory": "src"})") ==
        "script: \"trian.py\" is not there, did you mean \"train.py\"?   --> a.json:1:12");
  CHECK(check(R"({"script": "eval.py", "source_directory": "src"})") ==
        "script: \"eval.py\" is not there, did you mean \"pkg/eval.py\"?   --> a.json:1:12");
  CHECK(check(R"({"script": "pkg", "source_directory": "src"})") == "script: \"pkg\" is a folder   --> a.json:1:12");
  CHECK(check(R"({"script": "train.py", "source_directory": "scr"})") ==
        "source_directory: \"scr\" is not there, did you mean \"src\"?   --> a.json:1:44");
  CHECK(check(R"({"script": "src/train.py", "environment": {"python": {"requirements_file": "reqs.txt"}},
                  "inputs": {"d": "data/digit.csv", "e": "data", "f": "host:/x", "g": "https://x/y"}})") ==
        "environment.python.requirements_file: \"reqs.txt\" is not there, did you mean \"req.txt\"?   --> a.json:1:76\n"
        "inputs.d: \"data/digit.csv\" is not there, did you mean \"data/digits.csv\"?   --> a.json:2:35");
}
