// SPDX-License-Identifier: Apache-2.0
// The fallback where uv is missing: python -m venv and the pip it brings.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "host/environment/python_version.hpp"
#include "host/environment/request.hpp"
#include "host/environment/requirements.hpp"
#include "host/environment/resolver_errors.hpp"
#include "host/environment/step.hpp"
#include "host/environment/tools.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

namespace fs = std::filesystem;

namespace {

Result<> make_venv(const BuildContext& context, const fs::path& folder) {
  const Step step = tool_step(context, {context.python.path.string(), "-m", "venv", folder.string()});
  TRY(run_tool(context, step, "python -m venv", "making the virtual environment"));
  return {};
}

Result<std::string> pip_version(const BuildContext& context, const fs::path& python) {
  Step step = tool_step(context, {python.string(), "-m", "pip", "--version"});
  step.capture_output = true;
  TRY_ASSIGN(const StepResult result, run_tool(context, step, "pip", "asking pip for its version"));
  const auto words = base::split(result.out, ' ');
  return words.size() > 1 ? words[1] : std::string("0");
}

Result<std::vector<std::string>> install_arguments(const BuildContext& context, const fs::path& python,
                                                   const fs::path& requirements) {
  std::vector<std::string> argv = {python.string(), "-m", "pip", "install", "-r", requirements.string()};
  if (!context.request.constraints.empty()) {
    TRY(base::write_file_atomic(context.work / "constraints.txt", context.request.constraints));
    argv.insert(argv.end(), {"-c", (context.work / "constraints.txt").string()});
  }
  return argv;
}

// pip hands PIP_CONSTRAINT on to the builds of packages from source, which is all it has for build constraints.
Result<Step> pip_step(const BuildContext& context, std::vector<std::string> argv) {
  Step step = tool_step(context, std::move(argv));
  if (!context.request.build_constraints.empty()) {
    const fs::path file = context.work / "build-constraints.txt";
    TRY(base::write_file_atomic(file, base::join(context.request.build_constraints, "\n") + "\n"));
    step.variables.emplace_back("PIP_CONSTRAINT", file.string());
  }
  return step;
}

// One line of the lock for an entry of pip's installation report.
std::string lock_line(const Json& entry) {
  const Json empty = Json::object();
  const auto get = [&](const Json& from, const char* key) -> const Json& {
    const auto found = from.is_object() ? from.find(key) : from.end();
    return from.is_object() && found != from.end() ? *found : empty;
  };
  const Json& metadata = get(entry, "metadata");
  const Json& download = get(entry, "download_info");
  const Json& name = get(metadata, "name");
  const Json& version = get(metadata, "version");
  if (!name.is_string() || !version.is_string()) return {};
  const Json& direct = get(entry, "is_direct");
  const Json& url = get(download, "url");
  std::string line = normalized_name(name.get<std::string>());
  if (direct.is_boolean() && direct.get<bool>() && url.is_string()) return line + " @ " + url.get<std::string>() + "\n";
  line += "==" + version.get<std::string>();
  const Json& hash = get(get(get(download, "archive_info"), "hashes"), "sha256");
  if (hash.is_string()) line += " --hash=sha256:" + hash.get<std::string>();
  return line + "\n";
}

Result<std::string> lock_from_report(const fs::path& file) {
  TRY_ASSIGN(const std::string text, base::read_file(file));
  TRY_ASSIGN(const Json report, base::parse_json(text));
  std::string lock;
  if (report.is_object() && report.contains("install") && report["install"].is_array()) {
    for (const Json& entry : report["install"]) lock += lock_line(entry);
  }
  return lock;
}

Error with_near_versions(Error error, const std::string& output, const BuildContext& context) {
  const auto versions = offered_versions(output);
  const auto missing = missing_version(output);
  if (!versions.empty() && missing) {
    error.hint = missing->name + " has " + base::join(near_versions(missing->version, versions), ", ") +
                 " for python " + context.python.version.text();
  }
  return error;
}

}  // namespace

Result<std::string> resolve_with_pip(BuildContext& context) {
  if (!context.request.torch_backend.empty()) {
    return fail(Errc::cannot_start, "torch_backend needs uv, which is not installed here",
                "python3 -m pip install --user uv, or name the index in environment.python.index_urls");
  }
  std::string wanted = wanted_text(context.request);
  const std::string doing = "resolving " + std::to_string(count_requirements(wanted)) + " requirements";
  report(context.options, doing + " (pip: uv is not installed)");
  // Its own environment: the interpreter itself often has no pip, and must not be touched.
  const fs::path helper = context.work / "pip";
  TRY(make_venv(context, helper));
  const fs::path python = helper / "bin/python";
  TRY_ASSIGN(const std::string version, pip_version(context, python));
  if (*PythonVersion::parse(version) < PythonVersion{{22, 2}}) return wanted;
  TRY(base::write_file_atomic(context.work / "requirements.in", wanted));
  TRY_ASSIGN(auto argv, install_arguments(context, python, context.work / "requirements.in"));
  const fs::path file = context.work / "report.json";
  argv.insert(argv.end(), {"--dry-run", "--ignore-installed", "--quiet", "--report", file.string()});
  TRY_ASSIGN(const Step step, pip_step(context, std::move(argv)));
  TRY_ASSIGN(const StepResult result, run_step(step));
  if (result.exit_code != 0) {
    Error error =
        explain_failure({.tool = "pip", .doing = doing, .exit_code = result.exit_code, .output = result.tail});
    return fail(with_near_versions(std::move(error), result.tail, context));
  }
  TRY_ASSIGN(const std::string lock, lock_from_report(file));
  return index_options(wanted) + lock;
}

Result<> build_with_pip(BuildContext& context, const std::string& lock, const fs::path& folder) {
  report(context.options, "making the virtual environment (python -m venv: uv is not installed)");
  TRY(make_venv(context, folder));
  const fs::path python = folder / "bin/python";
  TRY_ASSIGN(const std::string version, pip_version(context, python));
  context.tool = "pip " + version;
  if (count_requirements(lock) == 0) return {};
  const std::string doing = "installing " + std::to_string(count_requirements(lock)) + " packages";
  report(context.options, doing + " (" + context.tool + ")");
  TRY(base::write_file_atomic(context.work / "requirements.lock", lock));
  std::vector<std::string> argv = {python.string(), "-m", "pip",
                                   "install",       "-r", (context.work / "requirements.lock").string()};
  if (is_hashed(lock)) {
    argv.insert(argv.end(), {"--require-hashes", "--no-deps"});
  } else {
    TRY_ASSIGN(argv, install_arguments(context, python, context.work / "requirements.lock"));
  }
  TRY_ASSIGN(const Step step, pip_step(context, std::move(argv)));
  TRY(run_tool(context, step, "pip", doing));
  report(context.options, "compiling to bytecode");
  Step compile = tool_step(context, {python.string(), "-m", "compileall", "-q", "-j", "0", (folder / "lib").string()});
  compile.log_fd = -1;
  TRY(run_step(compile));  // packages may ship files of other Python versions that do not compile: no reason to fail
  return {};
}

}  // namespace trainctl::host
