// SPDX-License-Identifier: Apache-2.0
// The environment module as a program, for tests that need processes: concurrent builders, killed builders, real tools.
//   request INPUT.json SOURCE      what a spec's environment becomes, as JSON
//   ensure ROOT REQUEST.json       builds; phases on stderr, the result (or {"error":…}) as JSON on stdout
//   lock ROOT REQUEST.json | hold ROOT KEY | ls ROOT | rm ROOT KEY | time ROOT REQUEST.json
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "host/environment/environment.hpp"
#include "host/environment/interpreter.hpp"
#include "host/environment/request.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace {

using namespace trainctl;

int print(const Json& json) {
  const std::string text = base::pretty_json(json);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return 0;
}

int print_error(const Error& error) {
  Json json = {{"code", to_string(error.code)},
               {"message", error.message},
               {"hint", error.hint},
               {"retryable", error.retryable},
               {"context", error.context}};
  if (error.at) json["at"] = error.at->file + ":" + std::to_string(error.at->line);
  print(Json{{"error", json}});
  return 1;
}

Result<Json> read_json(const std::string& path) {
  TRY_ASSIGN(const std::string text, base::read_file(path));
  return base::parse_json(text);
}

host::EnvironmentInput read_input(const Json& json) {
  host::EnvironmentInput input;
  input.python_version = json.value("version", "");
  input.interpreter = json.value("interpreter", "");
  input.venv = json.value("venv", "");
  input.requirements_file = json.value("requirements_file", "");
  input.conda_file = json.value("conda_file", "");
  input.project = json.value("project", "");
  input.torch_backend = json.value("torch_backend", "");
  input.local = json.value("local", true);
  for (const auto& [name, member] :
       {std::pair("packages", &host::EnvironmentInput::packages), std::pair("groups", &host::EnvironmentInput::groups),
        std::pair("extras", &host::EnvironmentInput::extras),
        std::pair("index_urls", &host::EnvironmentInput::index_urls),
        std::pair("build_constraints", &host::EnvironmentInput::build_constraints),
        std::pair("setup", &host::EnvironmentInput::setup)}) {
    if (json.contains(name)) input.*member = json[name].get<std::vector<std::string>>();
  }
  return input;
}

Result<Json> make(const std::string& file, const std::string& source) {
  TRY_ASSIGN(const Json json, read_json(file));
  TRY_ASSIGN(const auto resolved, host::make_request(read_input(json), source, host::Surroundings::of_process()));
  return Json{{"request", host::to_json(resolved.request)},
              {"description", resolved.description},
              {"notes", resolved.notes},
              {"key", host::request_key(resolved.request, host::Platform::current())}};
}

host::EnsureOptions options_for(const std::string& root) {
  host::EnsureOptions options;
  options.root = root;
  options.log_fd = 2;
  options.progress = [](const std::string& phase) { (void)base::write_all(2, "phase: " + phase + "\n"); };
  return options;
}

Result<Json> list(const std::string& root) {
  TRY_ASSIGN(const auto infos, host::list_environments(root));
  Json items = Json::array();
  for (const auto& info : infos) {
    items.push_back(Json{{"key", info.key},
                         {"description", info.description},
                         {"complete", info.complete},
                         {"in_use", info.in_use},
                         {"bytes", info.bytes},
                         {"packages", info.packages},
                         {"kind", info.kind},
                         {"last_used", info.last_used}});
  }
  return Json{{"items", items}};
}

Result<Json> with_request(const std::string& verb, const std::string& root, const std::string& file) {
  TRY_ASSIGN(const Json json, read_json(file));
  TRY_ASSIGN(const auto request,
             host::environment_request_from_json(json.contains("request") ? json["request"] : json));
  host::EnsureOptions options = options_for(root);
  if (verb == "lock") {
    options.upgrade = true;
    TRY_ASSIGN(const std::string lock, host::lock_environment(request, options));
    return Json{{"lock", lock}};
  }
  if (verb == "time") options.log_fd = -1;
  const std::uint64_t start = base::mono_ns();
  TRY_ASSIGN(const auto built, host::ensure(request, options));
  const std::uint64_t took = base::mono_ns() - start;
  Json result = host::to_json(built);
  result["took_us"] = took / 1000;
  result["cached"] = host::cached(request, root).built;
  return result;
}

Result<Json> hold(const std::string& root, const std::string& key) {
  TRY_ASSIGN(const auto use, host::EnvironmentUse::acquire(root, key));
  std::puts("held");
  std::fflush(stdout);
  char byte = 0;
  (void)!::read(0, &byte, 1);
  return Json{{"fd", use.fd()}};
}

Result<Json> run(const std::vector<std::string>& arguments) {
  const std::string& verb = arguments[0];
  if (verb == "ls") return list(arguments[1]);
  if (arguments.size() < 3) return fail(Errc::invalid, "two arguments are needed");
  if (verb == "request") return make(arguments[1], arguments[2]);
  if (verb == "hold") return hold(arguments[1], arguments[2]);
  if (verb == "rm") {
    TRY_ASSIGN(const auto bytes, host::remove_environment(arguments[1], arguments[2]));
    return Json{{"bytes", bytes}};
  }
  return with_request(verb, arguments[1], arguments[2]);
}

}  // namespace

int main(int argc, char** argv) {  // NOLINT(bugprone-exception-escape): who throws here ends the test
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() < 2) return 2;
  const auto result = run(arguments);
  return result ? print(*result) : print_error(result.error());
}
